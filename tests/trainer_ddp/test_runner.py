from typing import Any

import pytest

from policy_constructor.errors import ConfigError
from trainer_core.errors import UserError
from trainer_core.experiment.loading import load_experiment
from trainer_core.protocols import Runner
from trainer_ddp.options import Options
from trainer_ddp.runner import DDPRunner


def test_ddp_runner_fits_the_protocol() -> None:
    assert isinstance(DDPRunner(), Runner)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nproc_per_node": 0}, "nproc_per_node is 'auto' or at least 1, not 0"),
        ({"nproc_per_node": "all"}, "nproc_per_node is 'auto' or at least 1, not 'all'"),
        ({"nnodes": 0}, "nnodes is a number of at least 1, not 0"),
        (
            {"nnodes": 2},
            "nnodes: 2 needs rdzv_endpoint, 'host:port' of one of the machines",
        ),
        ({"max_restarts": -1}, "max_restarts is a number of at least 0, not -1"),
        ({"timeout_s": 0}, "timeout_s must be positive, not 0"),
        ({"backend": "mpi"}, "backend is auto or gloo or nccl, not 'mpi'"),
        ({"comm_hook": "int8"}, "comm_hook is none or fp16 or bf16 or powersgd, not 'int8'"),
        (
            {"fsdp_param_dtype": "bf16"},
            "fsdp_param_dtype is a key of strategy: fsdp, and this is ddp",
        ),
        (
            {"strategy": "fsdp", "comm_hook": "bf16"},
            "comm_hook is a key of strategy: ddp, and this is fsdp",
        ),
        (
            {"strategy": "fsdp", "fsdp_wrap": {"model": "Linear"}},
            "fsdp_wrap.model is a list of patterns, not 'Linear'",
        ),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Options(**options).require_valid()  # type: ignore[arg-type] # that is the point
    assert str(caught.value) == f"runner ddp: {message}"


def test_mistakes_in_options_are_found_before_anything_starts(experiment: dict[str, Any]) -> None:
    experiment["runner"] = {"_type_": "ddp", "nproc_per_node": 0, "backend": "mpi"}
    with pytest.raises(ConfigError) as caught:
        load_experiment(experiment)
    assert [problem.message for problem in caught.value.problems] == [
        "expected an integer >= 1 or 'auto', found 0",
        "expected one of 'auto', 'gloo', 'nccl', found 'mpi'",
    ]
