"""With `strategy: fsdp` the ranks train what one process trains, and save what it saves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import trainer_core
from trainer_core.distributed.sharding import ShardedModels, require_elementwise
from trainer_core.errors import UserError
from trainer_ddp.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.trainer_ddp.conftest import Agent
    from torch import Tensor

pytestmark = pytest.mark.timeout(180)

LOCAL = {"_type_": "local"}
DDP = {"_type_": "ddp", "nproc_per_node": 2, "timeout_s": 30}
FSDP = DDP | {"strategy": "fsdp"}
WRAPPED = FSDP | {"fsdp_wrap": {"model": ["Linear"]}}
EMA = {"_type_": "ema", "decay": 0.9}
OWN_LOSS = {"io": None, "loss": None}


class Trainings:
    """Runs the experiment of `conftest.py` with changed sections, in folders of their own."""

    def __init__(self, agent: Agent, experiment: dict[str, Any], folder: Path) -> None:
        self.agent = agent
        self.experiment = experiment
        self.folder = folder

    def run(self, name: str, runner: dict[str, Any], **sections: Any) -> Path:
        """Train and return the newest checkpoint."""
        config = self.experiment | sections | {"runner": runner}
        config["run"] = config["run"] | {"out_dir": str(self.folder / name)}
        if runner == LOCAL:
            assert trainer_core.run(config).status == "completed"
        else:
            assert self.agent.run(config)["status"] == "completed"
        return max((self.folder / name).glob("checkpoints/step-*"))

    def curve(self, name: str, metric: str = "loss") -> list[float]:
        lines = (self.folder / name / "metrics.jsonl").read_text().splitlines()
        return [record[metric] for line in lines if metric in (record := json.loads(line))]

    def trainer(self, **changes: Any) -> dict[str, Any]:
        return {**self.experiment["trainer"], **changes}


@pytest.fixture
def trainings(agent: Agent, experiment: dict[str, Any], tmp_path: Path) -> Trainings:
    return Trainings(agent, experiment, tmp_path)


@pytest.fixture
def without_dropout(experiment: dict[str, Any]) -> None:
    """Dropout is other noise for another number of processes."""
    experiment["model"]["sequential"]["layers"].pop(1)


def tensors(checkpoint: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file in checkpoint.glob("*.safetensors"):
        found |= {f"{file.name}/{name}": tensor for name, tensor in load_file(file).items()}
    return found


def require_equal(first: Path, second: Path, within: float = 0) -> None:
    one, two = tensors(first), tensors(second)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=within, atol=within)


def test_sharded_ranks_equal_one_process(trainings: Trainings) -> None:
    trainings.experiment["data"]["val_size"] = 10
    trainings.experiment["callbacks"].append(EMA)
    whole = trainings.run("whole", LOCAL, trainer=trainings.trainer(grad_accum_steps=2))
    ranks = trainings.run("ranks", WRAPPED)
    require_equal(ranks, whole, within=1e-6)
    assert {f.name for f in ranks.iterdir()} == {f.name for f in whole.iterdir()}
    for metric in ("loss", "val/loss", "grad_norm"):
        expected = pytest.approx(trainings.curve("whole", metric), abs=1e-5)
        assert trainings.curve("ranks", metric) == expected


def test_checkpoints_of_any_kind_go_on_as_any_other_bit_for_bit(trainings: Trainings) -> None:
    trainings.experiment["callbacks"].append(EMA)
    free = {"grad_clip_norm": None}  # the ranks add up parts of a norm
    of_one = trainings.trainer(**free, grad_accum_steps=2)
    of_two = trainings.trainer(**free)
    whole = trainings.run("whole", LOCAL, trainer=of_one)
    trainings.run("to-local", WRAPPED, trainer=of_two | {"max_steps": 3})
    require_equal(trainings.run("to-local", LOCAL, trainer=of_one), whole)
    trainings.run("from-local", LOCAL, trainer=of_one | {"max_steps": 3})
    require_equal(trainings.run("from-local", FSDP, trainer=of_two), whole)
    trainings.run("from-ddp", DDP, trainer=of_two | {"max_steps": 3})
    require_equal(trainings.run("from-ddp", WRAPPED, trainer=of_two), whole)


@pytest.mark.slow
@pytest.mark.usefixtures("without_dropout")
def test_three_ranks_with_uneven_parts_go_on_from_two(trainings: Trainings) -> None:
    whole = trainings.run("whole", LOCAL)
    trainings.run("cut", FSDP, trainer=trainings.trainer(max_steps=3))
    three = WRAPPED | {"nproc_per_node": 3, "fsdp_reshard_after_forward": False}
    require_equal(trainings.run("cut", three), whole, within=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("without_dropout")
def test_accumulation_freezing_and_clipping_equal_one_process(trainings: Trainings) -> None:
    parts = {"model/layer0.*": {"freeze_at": 2, "unfreeze_at": 4}}
    trainings.experiment["callbacks"].append({"_type_": "freeze_schedule", "parts": parts})
    small = {"grad_clip_norm": 0.05, "grad_clip_value": 0.01}
    trainer = trainings.trainer(grad_accum_steps=3, **small)
    whole = trainings.run("whole", LOCAL, trainer=trainer)
    require_equal(trainings.run("ranks", WRAPPED, trainer=trainer), whole, within=1e-6)
    norms = pytest.approx(trainings.curve("whole", "grad_norm"), abs=1e-6)
    assert trainings.curve("ranks", "grad_norm") == norms


@pytest.mark.slow
@pytest.mark.usefixtures("without_dropout", "rank_parts")
def test_weights_may_be_used_without_calling_their_component(trainings: Trainings) -> None:
    layers = trainings.experiment.pop("model")
    trainings.experiment["models"] = {"head": layers, "frozen": layers | {"freeze": True}}
    sections = {**OWN_LOSS, "trainer": trainings.trainer(_type_="penalised")}
    whole = trainings.run("whole", LOCAL, **sections)
    require_equal(trainings.run("ranks", FSDP, **sections), whole, within=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("without_dropout")
def test_mixed_precision_stays_near_and_keeps_whole_numbers(trainings: Trainings) -> None:
    trainings.experiment["data"]["val_size"] = 10
    trainings.run("whole", LOCAL)
    ranks = trainings.run("ranks", WRAPPED | {"fsdp_param_dtype": "bf16"})
    assert {tensor.dtype for tensor in tensors(ranks).values()} == {torch.float32}
    for metric in ("loss", "val/loss"):
        expected = pytest.approx(trainings.curve("whole", metric), rel=0.02)
        assert trainings.curve("ranks", metric) == expected
    assert trainings.curve("ranks") != trainings.curve("whole")


@pytest.mark.slow
@pytest.mark.usefixtures("without_dropout", "rank_parts")
def test_step_that_is_not_finite_on_one_rank_is_skipped_on_all(trainings: Trainings) -> None:
    sections = {**OWN_LOSS, "trainer": trainings.trainer(_type_="diverging", on_nonfinite="skip")}
    whole = trainings.run("whole", LOCAL, **sections)
    require_equal(trainings.run("ranks", WRAPPED, **sections), whole, within=1e-5)
    report = trainings.folder / "ranks/nonfinite/step-000000003.json"
    assert "model/layer0.weight" in json.loads(report.read_text())["gradients"]


@pytest.mark.slow
@pytest.mark.usefixtures("rank_parts")
@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ("own_step", "the trainer owns its whole step; it has to extend trainer_core.LossTrainer"),
        ("copying", "'copy' is a copy of a trained component, which cannot be sharded"),
    ],
)
def test_trainers_that_cannot_be_sharded_are_refused(
    trainings: Trainings, trainer: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        trainings.run("run", FSDP, **OWN_LOSS, trainer={"_type_": trainer, "max_steps": 1})
    assert str(caught.value) == f"runner.strategy fsdp: {message}"


def compiled() -> nn.Module:
    module = nn.Linear(2, 2)
    module._compiled_call_impl = module.forward  # as compile() does, without its imports
    return module


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.ReLU())


def scaled() -> nn.Module:
    module = nn.Linear(2, 2)
    module.scale = nn.Parameter(torch.ones(()))
    return module


@pytest.mark.parametrize(
    ("make", "wrap", "message"),
    [
        (compiled, {}, "models.net.compile cannot be had with it"),
        (scaled, {}, "net/scale is a single number; give it the shape [1]"),
        (plain, {"nett": ["*"]}, "fsdp_wrap: 'nett' is no component; did you mean 'net'?"),
        (plain, {"fixed": ["*"]}, "fsdp_wrap: 'fixed' is frozen"),
        (
            plain,
            {"net": ["ReLU"]},
            "fsdp_wrap.net: 'ReLU' matches no module with weights",
        ),
    ],
)
def test_what_cannot_be_sharded_is_refused(
    make: Callable[[], nn.Module], wrap: dict[str, list[str]], message: str
) -> None:
    frozen = nn.Linear(2, 2).requires_grad_(requires_grad=False)
    with pytest.raises(UserError) as caught:
        ShardedModels(
            nn.ModuleDict({"net": make(), "fixed": frozen}),
            Options(strategy="fsdp", fsdp_wrap=wrap),
            "cpu",
        )
    assert str(caught.value) == f"runner.strategy fsdp: {message}"


def test_optimizers_that_need_whole_matrices_are_refused() -> None:
    optimizer = torch.optim.Adafactor(nn.Linear(2, 2).parameters())
    with pytest.raises(UserError) as caught:
        require_elementwise({"main": optimizer})
    assert str(caught.value) == (
        "runner.strategy fsdp: the optimizer 'main' (Adafactor) needs whole weights; AdamW does not"
    )
