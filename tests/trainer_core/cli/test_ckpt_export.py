"""`trainer ckpt export`: a policy that is used without the training stack."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from policy_constructor.errors import ConfigError
from policy_constructor.exported import load_export
from trainer_core.cli import main
from trainer_core.normalize import Normalizer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.trainer_core.conftest import Train

ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"trainer_core", "experiments_il"}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
import torch
from policy_constructor.exported import load_export
policy = load_export(sys.argv[1])
x = torch.arange(6.0).view(2, 3)
print(policy.models["model"](x).flatten().tolist())
"""


@pytest.fixture
def trained(train: Train, tmp_path: Path) -> dict[str, Any]:
    """A finished run with averaged weights; `models` after it and the run folder."""
    kept: dict[str, Any] = {"run": tmp_path / "run"}
    train(spy=lambda experiment: kept.update(experiment=experiment), callbacks=[{"_type_": "ema"}])
    return kept


def export(trained: dict[str, Any], tmp_path: Path, *options: str) -> Path:
    out = tmp_path / "policy"
    assert main(["ckpt", "export", str(trained["run"]), str(out), *options]) == 0
    return out


def test_export_acts_as_the_trained_model_without_the_training_stack(
    trained: dict[str, Any], tmp_path: Path
) -> None:
    out = export(trained, tmp_path, "--no-ema")
    command = [sys.executable, "-c", ALONE, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    model = trained["experiment"].models["model"].eval()
    with torch.no_grad():
        assert json.loads(done.stdout) == model(torch.arange(6.0).view(2, 3)).flatten().tolist()


def test_averaged_weights_are_taken_unless_refused(
    trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = export(trained, tmp_path)
    assert capsys.readouterr().out.startswith(f"{out}: step 13, ema weights, ")
    policy = load_export(out)
    model = trained["experiment"].models["model"]
    assert not torch.equal(next(policy.models["model"].parameters()), next(model.parameters()))
    assert policy.about["wheels"].keys() >= {"trainer-core"}


def test_existing_folder_is_refused(
    trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = export(trained, tmp_path)
    assert main(["ckpt", "export", str(trained["run"]), str(out)]) == 2
    assert capsys.readouterr().err == f"error: {out} exists; name a new folder\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy", "run"]


def test_unknown_step_is_refused(
    trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained["run"]
    assert main(["ckpt", "export", str(run), str(tmp_path / "out"), "--step", "5"]) == 2
    message = f"error: {run} has no checkpoint of step 5; see trainer ckpt ls {run}\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("name", ["policy.json", "model.model.safetensors", "norm_stats.json"])
def test_damaged_export_is_refused(trained: dict[str, Any], tmp_path: Path, name: str) -> None:
    out = export(trained, tmp_path)
    data = bytearray((out / name).read_bytes())
    data[-3] ^= 2
    (out / name).write_bytes(data)
    with pytest.raises(ConfigError, match=name):
        load_export(out)


@pytest.mark.parametrize("mode", ["mean_std", "min_max", "quantiles", "identity"])
def test_normalisation_is_that_of_the_training(
    trained: dict[str, Any], tmp_path: Path, mode: str
) -> None:
    policy = load_export(export(trained, tmp_path))
    stats = {"mode": mode, "mean": [1.0, 2], "std": [3.0, 0], "min": [0.0, 1], "max": [5.0, 1]}
    policy.norm_stats = {"x": stats | {"q01": [0.1, 0.2], "q99": [0.3, 0.4]}}
    x = torch.randn(4, 2)
    normalizer, batch = Normalizer(policy.norm_stats), {"x": x, "y": 3}
    assert torch.equal(policy.normalize(batch)["x"], normalizer.normalize(batch)["x"])
    assert torch.equal(policy.unnormalize("x", x), normalizer.unnormalize("x", x))
