"""`trainer ckpt export --format`: one program that computes what the policy does, or none."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from trainer_core.cli import main
from trainer_core.deploy.checking import compare, on_one_thread
from trainer_core.deploy.examples import example_batch
from trainer_core.deploy.formats import FORMATS, trace
from trainer_core.errors import TrainerError, UserError
from trainer_core.normalize import Normalizer
from trainer_core.protocols import Exportable

if TYPE_CHECKING:
    from pathlib import Path

    from tests.trainer_core.conftest import Train


@pytest.fixture
def trained(train: Train, tmp_path: Path) -> dict[str, Any]:
    """A finished run: `experiment` after it and its folder."""
    kept: dict[str, Any] = {"run": tmp_path / "run"}
    train(spy=lambda experiment: kept.update(experiment=experiment))
    return kept


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_program_computes_what_the_model_computes(
    trained: dict[str, Any], tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "program"
    assert main(["ckpt", "export", str(trained["run"]), str(out), "--format", kind]) == 0
    about = json.loads((out / "program.json").read_bytes())
    assert about["inputs"] == [{"name": "x", "shape": [None, 3], "dtype": "float32", "unit": ""}]
    assert [row["what"] for row in about["latency"]] == ["eager", kind]
    assert "one sample, one thread     p50 ms   p95 ms" in capsys.readouterr().out
    x = torch.randn(7, 3)
    (prediction,) = FORMATS[kind].open(out / about["file"])([x])
    expected = trained["experiment"].models["model"].eval()(x)
    torch.testing.assert_close(prediction, expected, rtol=1e-5, atol=1e-6)


def test_checkpoint_and_export_tell_what_batches_look_like(
    trained: dict[str, Any], tmp_path: Path
) -> None:
    assert main(["ckpt", "export", str(trained["run"]), str(tmp_path / "policy")]) == 0
    about = json.loads((tmp_path / "policy" / "policy.json").read_bytes())
    assert about["data"] == {
        "keys": {
            "x": {"shape": [3], "dtype": "float32"},
            "y": {"shape": [2], "dtype": "float32"},
            "index": {"shape": [], "dtype": "int64"},
        },
        "fps": None,
    }


def test_missing_package_is_said_before_anything_is_written(
    trained: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    arguments = ["ckpt", "export", str(trained["run"]), str(tmp_path / "out"), "--format", "onnx"]
    assert main(arguments) == 2
    assert capsys.readouterr().err == (
        "error: exporting to ONNX needs a package that is not installed: "
        "pip install 'trainer-core[onnx]'\n"
    )
    assert not (tmp_path / "out").exists()


def test_choice_of_weights_is_for_the_native_format(
    trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert main(["ckpt", "export", str(trained["run"]), out, "--format", "pt2", "--no-ema"]) == 2
    assert capsys.readouterr().err == (
        "error: --ema and --no-ema are of --format native; pt2 takes what acts best\n"
    )


def test_trainer_without_a_seam_is_named(
    train: Train, acme: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(trainer={"_type_": "plain", "max_steps": 2}, loss=None, io=None, scheduler=None)
    out = tmp_path / "out"
    assert main(["ckpt", "export", str(tmp_path / "run"), str(out), "--format", "pt2"]) == 2
    assert capsys.readouterr().err == (
        "error: plain has no exportable(normalizer, batch): only --format native is possible\n"
    )
    assert not out.exists()


def test_difference_beyond_the_tolerance_is_an_error() -> None:
    exact, wrong = on_one_thread(nn.Identity()), on_one_thread(nn.Threshold(0.5, 0.0))
    with pytest.raises(TrainerError) as error:
        compare(exact, wrong, [torch.tensor([[0.25]])], "1 sample (seed 1)")
    assert str(error.value) == (
        "the exported program differs from the policy itself by 0.25 for 1 sample (seed 1); "
        "at most 0.0001 is allowed, and nothing was written"
    )


def test_numbers_that_are_not_finite_are_a_difference() -> None:
    exact, wrong = on_one_thread(nn.Identity()), on_one_thread(nn.Threshold(1.0, float("nan")))
    with pytest.raises(TrainerError, match="differs from the policy itself by nan"):
        compare(exact, wrong, [torch.tensor([[0.25]])], "1 sample (seed 1)")


class Branching(nn.Module):
    """Does something else for large numbers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the doubled numbers where their sum is positive."""
        return 2 * x if x.sum() > 0 else x


def test_branch_on_values_is_said_with_the_reason() -> None:
    exportable = Exportable(Branching(), {"x": torch.ones(3, 1)}, ("y",))
    with pytest.raises(UserError, match=r"the policy cannot be exported: .*data-dependent"):
        trace(exportable)


def test_examples_have_the_units_of_the_data_set() -> None:
    stats = {"s": {"mode": "mean_std", "mean": [100.0], "std": [1.0]}}
    keys: dict[str, Any] = {
        "s": {"shape": [1], "dtype": "float32"},
        "image": {"shape": [3, 4, 4], "dtype": "uint8"},
        "s_is_pad": {"shape": [2], "dtype": "bool"},
        "task": {"shape": [], "dtype": "str"},
    }
    batch = example_batch(keys, Normalizer(stats), size=50, seed=0)
    assert set(batch) == {"s", "image", "s_is_pad"}
    assert 99 < float(batch["s"].mean()) < 101
    assert batch["image"].shape == (50, 3, 4, 4)
    assert not batch["s_is_pad"].any()
