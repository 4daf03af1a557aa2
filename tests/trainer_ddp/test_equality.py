"""Several processes train what one process trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

import trainer_core
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from tests.trainer_ddp.conftest import Agent
    from torch import Tensor

pytestmark = pytest.mark.timeout(180)

LOCAL = {"_type_": "local"}
TWO = {"_type_": "ddp", "nproc_per_node": 2, "timeout_s": 30}


class Trainings:
    """Runs the experiment of `conftest.py` with changed sections, in folders of their own."""

    def __init__(self, agent: Agent, experiment: dict[str, Any], folder: Path) -> None:
        self.agent = agent
        self.experiment = experiment
        self.folder = folder

    def run(self, name: str, **sections: Any) -> dict[str, Tensor]:
        """Train and return the weights."""
        config = {"runner": TWO, **self.experiment, **sections}
        config["run"] = config["run"] | {"out_dir": str(self.folder / name)}
        if config["runner"] == LOCAL:
            assert trainer_core.run(config).status == "completed"
        else:
            assert self.agent.run(config)["status"] == "completed"
        saved = max((self.folder / name).glob("checkpoints/step-*"))
        return load_file(saved / "model.model.safetensors")

    def curve(self, name: str, metric: str = "loss") -> list[float]:
        lines = (self.folder / name / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)[metric] for line in lines]

    def trainer(self, **changes: Any) -> dict[str, Any]:
        return {**self.experiment["trainer"], **changes}


@pytest.fixture
def trainings(agent: Agent, experiment: dict[str, Any], tmp_path: Path) -> Trainings:
    return Trainings(agent, experiment, tmp_path)


@pytest.fixture
def without_dropout(experiment: dict[str, Any]) -> None:
    """Dropout is other noise for another number of processes."""
    experiment["model"]["sequential"]["layers"].pop(1)


def require_equal(first: dict[str, Tensor], second: dict[str, Tensor], within: float = 0) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=within, atol=within)


def test_two_ranks_equal_two_micro_batches_bit_for_bit(trainings: Trainings) -> None:
    accumulated = trainings.trainer(grad_accum_steps=2)
    local = trainings.run("local", runner=LOCAL, trainer=accumulated)
    ranks = trainings.run("ranks")
    require_equal(ranks, local)
    assert trainings.curve("ranks") == pytest.approx(trainings.curve("local"), abs=1e-6)
    assert (trainings.folder / "ranks" / "logs" / "rank-1.log").exists()


@pytest.mark.slow
def test_one_rank_goes_on_from_two(trainings: Trainings) -> None:
    accumulated = trainings.trainer(grad_accum_steps=2)
    whole = trainings.run("whole", runner=LOCAL, trainer=accumulated)
    trainings.run("cut", trainer=trainings.trainer(max_steps=3))
    require_equal(trainings.run("cut", runner=LOCAL, trainer=accumulated), whole)


@pytest.mark.slow
@pytest.mark.usefixtures("rank_parts", "without_dropout")
def test_trainer_that_owns_its_step_equals_one_process(trainings: Trainings) -> None:
    sections: dict[str, Any] = {"io": None, "loss": None}
    sections["trainer"] = {"_type_": "own_step", "max_steps": 4, "log_every_n_steps": 2}
    local = trainings.run("local", runner=LOCAL, **sections)
    require_equal(trainings.run("ranks", **sections), local, within=1e-5)


@pytest.mark.usefixtures("rank_parts", "without_dropout")
def test_masked_means_count_by_their_weight(trainings: Trainings) -> None:
    sections = {"io": None, "loss": None, "trainer": trainings.trainer(_type_="masked")}
    local = trainings.run("local", runner=LOCAL, **sections)
    require_equal(trainings.run("ranks", **sections), local, within=1e-5)
    for metric in ("loss", "largest"):
        expected = pytest.approx(trainings.curve("local", metric), abs=1e-5)
        assert trainings.curve("ranks", metric) == expected


@pytest.mark.slow
@pytest.mark.usefixtures("without_dropout")
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_world_size_gives_the_same_curve(trainings: Trainings, count: int) -> None:
    local = trainings.run("local", runner=LOCAL)
    ranks = trainings.run("ranks", runner=TWO | {"nproc_per_node": count})
    require_equal(ranks, local, within=1e-5)
    assert trainings.curve("ranks") == pytest.approx(trainings.curve("local"), abs=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("without_dropout")
@pytest.mark.parametrize("count", [1, 3, 4])
def test_any_world_size_goes_on_from_two(trainings: Trainings, count: int) -> None:
    whole = trainings.run("whole", runner=LOCAL)
    trainings.run("cut", trainer=trainings.trainer(max_steps=3))
    rest = trainings.run("cut", runner=TWO | {"nproc_per_node": count})
    require_equal(rest, whole, within=1e-5)


@pytest.fixture
def with_batch_norm(experiment: dict[str, Any]) -> None:
    layers = experiment["model"]["sequential"]["layers"]
    layers[0]["bias"] = False  # its gradient would be nothing but rounding
    layers[1] = {"_type_": "nn.BatchNorm1d", "num_features": 8}


@pytest.mark.usefixtures("with_batch_norm")
def test_batch_norm_sees_the_samples_of_all_ranks(trainings: Trainings) -> None:
    local = trainings.run("local", runner=LOCAL)
    ranks = trainings.run("ranks")
    require_equal(ranks, local, within=1e-5)
    assert {"layer1.running_mean", "layer1.num_batches_tracked"} <= ranks.keys()


@pytest.mark.slow
@pytest.mark.usefixtures("with_batch_norm")
def test_batch_norm_may_be_left_to_each_rank(trainings: Trainings) -> None:
    local = trainings.run("local", runner=LOCAL)
    ranks = trainings.run("ranks", runner=TWO | {"sync_batch_norm": False})
    name = "layer1.running_var"
    assert not torch.allclose(ranks[name], local[name], atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("without_dropout")
@pytest.mark.parametrize(
    ("options", "within"),
    [
        ({"comm_hook": "fp16"}, 1e-2),
        ({"comm_hook": "powersgd"}, 1e-2),
        ({"static_graph": True, "bucket_cap_mb": 0.00001}, 1e-5),
        ({"find_unused_parameters": True, "gradient_as_bucket_view": False}, 1e-5),
    ],
)
def test_other_ways_to_send_give_about_the_same(
    trainings: Trainings, options: dict[str, Any], within: float
) -> None:
    trainings.experiment["trainer"] = trainings.trainer(max_steps=16, grad_accum_steps=2)
    plain = trainings.run("plain", runner=LOCAL)
    require_equal(trainings.run("other", runner=TWO | options), plain, within=within)


def test_bf16_compression_without_nccl_is_refused(trainings: Trainings) -> None:
    with pytest.raises(UserError) as caught:
        trainings.run("ranks", runner=TWO | {"comm_hook": "bf16"})
    assert str(caught.value) == (
        "runner ddp: comm_hook bf16 needs nccl, this run has gloo; use comm_hook: fp16"
    )


def test_dry_run_reports_what_rank_0_found(trainings: Trainings) -> None:
    report = trainings.agent.run(trainings.experiment, dry_run=True)["report"]
    shapes = {row["key"]: row["shape"] for row in report["batch"]}
    assert shapes["x"] == [12, 3]
    assert report["total_steps"] == 6
    assert not Path(trainings.experiment["run"]["out_dir"]).exists()
