"""With `strategy: fsdp` the ranks train what one process trains, and save what it saves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

import trainer_core
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

pytestmark = pytest.mark.timeout(120)

LOCAL = {"_type_": "local"}
DDP = {"_type_": "ddp", "nproc_per_node": 2, "timeout_s": 30}
FSDP = DDP | {"strategy": "fsdp"}


def train(experiment: dict[str, Any], out: Path, **sections: Any) -> Path:
    """Train and return the newest checkpoint."""
    config = experiment | sections
    config["run"] = config["run"] | {"out_dir": str(out)} | sections.get("run", {})
    result = trainer_core.run(config)
    assert result.status == "completed"
    return max(out.glob("checkpoints/step-*"))


def curve(out: Path, metric: str = "loss") -> list[float]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [record[metric] for line in lines if metric in (record := json.loads(line))]


def tensors(checkpoint: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file in checkpoint.glob("*.safetensors"):
        found |= {f"{file.name}/{name}": tensor for name, tensor in load_file(file).items()}
    return found


def require_equal(first: Path, second: Path, within: float = 0) -> None:
    one, two = tensors(first), tensors(second)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=within, atol=within, msg=name)


def shorter(experiment: dict[str, Any], steps: int) -> dict[str, Any]:
    return {**experiment["trainer"], "max_steps": steps}


def test_sharded_ranks_equal_one_process_that_goes_on_from_them(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    runner = FSDP | {"fsdp_wrap": {"model": ["Linear"]}}
    experiment["data"]["val_size"] = 10
    experiment["callbacks"].append({"_type_": "ema", "decay": 0.9})
    accumulated = experiment["trainer"] | {"grad_accum_steps": 2}
    whole = train(experiment, tmp_path / "whole", runner=LOCAL, trainer=accumulated)
    ranks = train(experiment, tmp_path / "ranks", runner=runner)
    require_equal(ranks, whole, within=1e-6)
    for metric in ("loss", "val/loss", "grad_norm"):
        expected = pytest.approx(curve(tmp_path / "whole", metric), abs=1e-5)
        assert curve(tmp_path / "ranks", metric) == expected


@pytest.mark.slow
def test_checkpoints_of_either_kind_go_on_as_the_other_bit_for_bit(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    experiment["callbacks"].append({"_type_": "ema", "decay": 0.9})
    del experiment["trainer"]["grad_clip_norm"]  # the ranks add up parts of a norm
    accumulated = {"grad_accum_steps": 2}
    local = {"runner": LOCAL, "trainer": experiment["trainer"] | accumulated}
    cut = {"runner": LOCAL, "trainer": shorter(experiment, 3) | accumulated}
    whole = train(experiment, tmp_path / "whole", **local)
    train(experiment, tmp_path / "fsdp-local", runner=FSDP, trainer=shorter(experiment, 3))
    require_equal(train(experiment, tmp_path / "fsdp-local", **local), whole)
    train(experiment, tmp_path / "local-fsdp", **cut)
    require_equal(train(experiment, tmp_path / "local-fsdp", runner=FSDP), whole)
    train(experiment, tmp_path / "ddp-fsdp", runner=DDP, trainer=shorter(experiment, 3))
    require_equal(train(experiment, tmp_path / "ddp-fsdp", runner=FSDP), whole)
    assert file_names(whole) == file_names(tmp_path / "local-fsdp/checkpoints/step-000000006")


@pytest.mark.slow
def test_three_ranks_with_uneven_parts_go_on_from_two(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    experiment["model"]["sequential"]["layers"].pop(1)  # dropout differs with the rank
    whole = train(experiment, tmp_path / "whole", runner=LOCAL)
    train(experiment, tmp_path / "cut", runner=FSDP, trainer=shorter(experiment, 3))
    three = FSDP | {"nproc_per_node": 3, "fsdp_reshard_after_forward": False}
    rest = train(experiment, tmp_path / "cut", runner=three | {"fsdp_wrap": {"model": ["*"]}})
    require_equal(rest, whole, within=1e-5)


@pytest.mark.slow
def test_accumulation_freezing_and_clipping_equal_one_process(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    layers = experiment["model"]["sequential"]["layers"]
    layers.pop(1)
    experiment["model"]["sequential"]["layers"] = [*layers, layers[1] | {"in_features": 2}]
    parts = {"model/layer0.*": {"freeze_at": 2, "unfreeze_at": 4}}
    experiment["callbacks"].append({"_type_": "freeze_schedule", "parts": parts})
    experiment["trainer"] |= {
        "grad_accum_steps": 3,
        "grad_clip_norm": 0.05,
        "grad_clip_value": 0.01,
    }
    whole = train(experiment, tmp_path / "whole", runner=LOCAL)
    runner = FSDP | {"fsdp_wrap": {"model": ["Linear"]}}
    require_equal(train(experiment, tmp_path / "ranks", runner=runner), whole, within=1e-6)
    norms = pytest.approx(curve(tmp_path / "whole", "grad_norm"), abs=1e-6)
    assert curve(tmp_path / "ranks", "grad_norm") == norms


@pytest.mark.slow
def test_mixed_precision_stays_near_and_saves_whole_numbers(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    experiment["model"]["sequential"]["layers"].pop(1)
    experiment["data"]["val_size"] = 10
    train(experiment, tmp_path / "whole", runner=LOCAL)
    runner = FSDP | {"fsdp_param_dtype": "bf16", "fsdp_wrap": {"model": ["Linear"]}}
    ranks = train(experiment, tmp_path / "ranks", runner=runner)
    assert {tensor.dtype for tensor in tensors(ranks).values()} == {torch.float32}
    assert curve(tmp_path / "ranks") == pytest.approx(curve(tmp_path / "whole"), rel=0.02)
    assert tensors(ranks)["model.model.safetensors/layer0.weight"].shape == (8, 3)


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_skipped_on_all_ranks(
    experiment: dict[str, Any], tmp_path: Path, rank_parts: None
) -> None:
    experiment["trainer"] |= {"_type_": "diverging", "on_nonfinite": "skip"}
    sections = {"io": None, "loss": None}
    experiment["model"]["sequential"]["layers"].pop(1)
    whole = train(experiment, tmp_path / "whole", runner=LOCAL, **sections)
    ranks = train(experiment, tmp_path / "ranks", runner=FSDP, **sections)
    require_equal(ranks, whole, within=1e-5)
    report = json.loads((tmp_path / "ranks/nonfinite/step-000000003.json").read_text())
    assert report["gradients"]


NEAR = "did you mean 'Linear' or 'layer2' or 'layer0'?"
REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"fsdp_wrap": {"model": ["Linaer"]}},
        {},
        f"fsdp_wrap.model: 'Linaer' matches no module with weights; {NEAR}",
    ),
    (
        {"fsdp_wrap": {"modle": ["*"]}},
        {},
        "fsdp_wrap: 'modle' is no component; did you mean 'model'?",
    ),
    (
        {},
        {"optimizer": {"_type_": "torch", "type": "Adafactor"}},
        "the optimizer 'default' (Adafactor) needs whole weights; AdamW does not",
    ),
    (
        {},
        {"trainer": {"_type_": "own_step", "max_steps": 1}, "io": None, "loss": None},
        "the trainer owns its whole step; it has to extend trainer_core.LossTrainer",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("options", "sections", "message"), REFUSED)
def test_what_cannot_be_sharded_is_refused(
    experiment: dict[str, Any],
    rank_parts: None,
    options: dict[str, Any],
    sections: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(UserError) as caught:
        trainer_core.run(experiment | sections | {"runner": FSDP | options})
    assert str(caught.value) == f"runner ddp: strategy: fsdp: {message}"


def file_names(checkpoint: Path) -> set[str]:
    return {str(file.relative_to(checkpoint)) for file in checkpoint.rglob("*")}
