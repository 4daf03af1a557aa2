"""Several processes train what one process trains."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

import trainer_core

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

pytestmark = pytest.mark.timeout(120)

LOCAL = {"_type_": "local"}


def train(experiment: dict[str, Any], out: Path, **sections: Any) -> dict[str, Tensor]:
    config = experiment | sections
    config["run"] = config["run"] | {"out_dir": str(out)}
    result = trainer_core.run(config)
    assert result.status == "completed"
    return load_file(max(out.glob("checkpoints/step-*")) / "model.model.safetensors")


def curve(out: Path, metric: str = "loss") -> list[float]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)[metric] for line in lines]


def require_equal(first: dict[str, Tensor], second: dict[str, Tensor], within: float = 0) -> None:
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=within, atol=within)


def test_two_ranks_equal_two_micro_batches_bit_for_bit(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    accumulated = experiment["trainer"] | {"grad_accum_steps": 2}
    local = train(experiment, tmp_path / "local", runner=LOCAL, trainer=accumulated)
    ranks = train(experiment, tmp_path / "ranks")
    require_equal(ranks, local)
    assert curve(tmp_path / "ranks") == pytest.approx(curve(tmp_path / "local"), abs=1e-6)
    assert (tmp_path / "ranks" / "logs" / "rank-1.log").exists()


@pytest.mark.slow
def test_one_rank_goes_on_from_two(experiment: dict[str, Any], tmp_path: Path) -> None:
    accumulated = experiment["trainer"] | {"grad_accum_steps": 2}
    whole = train(experiment, tmp_path / "whole", runner=LOCAL, trainer=accumulated)
    train(experiment, tmp_path / "cut", trainer=experiment["trainer"] | {"max_steps": 3})
    rest = train(experiment, tmp_path / "cut", runner=LOCAL, trainer=accumulated)
    require_equal(rest, whole)


@pytest.mark.slow
def test_trainer_that_owns_its_step_equals_one_process(
    experiment: dict[str, Any], tmp_path: Path, rank_parts: None
) -> None:
    experiment["model"]["sequential"]["layers"].pop(1)  # dropout differs with the micro-batch
    experiment["trainer"] = {"_type_": "own_step", "max_steps": 4, "log_every_n_steps": 2}
    sections = {"io": None, "loss": None}
    local = train(experiment, tmp_path / "local", runner=LOCAL, **sections)
    ranks = train(experiment, tmp_path / "ranks", **sections)
    require_equal(ranks, local, within=1e-5)


def test_masked_means_count_by_their_weight(
    experiment: dict[str, Any], tmp_path: Path, rank_parts: None
) -> None:
    experiment["model"]["sequential"]["layers"].pop(1)
    experiment["trainer"]["_type_"] = "masked"
    sections = {"io": None, "loss": None}
    local = train(experiment, tmp_path / "local", runner=LOCAL, **sections)
    ranks = train(experiment, tmp_path / "ranks", **sections)
    require_equal(ranks, local, within=1e-5)
    for metric in ("loss", "largest"):
        expected = pytest.approx(curve(tmp_path / "local", metric), abs=1e-5)
        assert curve(tmp_path / "ranks", metric) == expected


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_world_size_gives_the_same_curve(
    experiment: dict[str, Any], tmp_path: Path, count: int
) -> None:
    experiment["model"]["sequential"]["layers"].pop(1)
    local = train(experiment, tmp_path / "local", runner=LOCAL)
    ranks = train(experiment, tmp_path / "ranks", runner={"_type_": "ddp", "nproc_per_node": count})
    require_equal(ranks, local, within=1e-5)
    assert curve(tmp_path / "ranks") == pytest.approx(curve(tmp_path / "local"), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 4])
def test_any_world_size_goes_on_from_two(
    experiment: dict[str, Any], tmp_path: Path, count: int
) -> None:
    experiment["model"]["sequential"]["layers"].pop(1)
    whole = train(experiment, tmp_path / "whole", runner=LOCAL)
    train(experiment, tmp_path / "cut", trainer=experiment["trainer"] | {"max_steps": 3})
    runner = {"_type_": "ddp", "nproc_per_node": count}
    require_equal(train(experiment, tmp_path / "cut", runner=runner), whole, within=1e-5)
