from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from trainer_core.loggers.jsonl import read_metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Train = Callable[..., Any]

VALIDATED = {
    "_type_": "random_regression",
    "x_shape": [3],
    "y_shape": [2],
    "size": 22,
    "val_size": 7,
    "batch_size": 4,
}


def val_steps(out: Path) -> list[int]:
    records = read_metrics(out / "metrics.jsonl")
    return [record["step"] for record in records if "val/loss" in record]


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ([], [13]),
        (["trainer.val_every_n_steps=6"], [6, 12, 13]),
        (["trainer.val_every_n_steps=5"], [5, 10, 13]),
    ],
)
def test_validation_comes_at_its_steps_and_the_end(
    train: Train, tmp_path: Path, changes: list[str], steps: list[int]
) -> None:
    train(*changes, data=VALIDATED)
    assert val_steps(tmp_path / "run") == steps
    logged = [record["step"] for record in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert logged == sorted(set(logged))


def test_validation_loss_is_the_mean_over_the_split(train: Train) -> None:
    found: dict[str, Any] = {}

    def spy(experiment: Any) -> None:
        found["model"] = experiment.models["model"]
        found["data"] = experiment.val_dataset.columns

    result = train(data=VALIDATED, spy=spy)
    found["model"].eval()
    with torch.no_grad():
        error = (found["model"](found["data"]["x"]) - found["data"]["y"]).square().mean()
    assert result.metrics["val/loss"] == pytest.approx(float(error), rel=1e-6)


def test_validation_does_not_change_the_training(train: Train) -> None:
    often = train("trainer.val_every_n_steps=1", out="often", data=VALIDATED)
    never = train(out="never", data=VALIDATED)
    assert often.metrics["loss"] == never.metrics["loss"]


def test_metric_components_see_every_sample(train: Train, acme: None) -> None:
    result = train(data=VALIDATED, metrics=[{"_type_": "mean_prediction"}])
    assert result.metrics["val/count"] == 7
    assert "val/mean_prediction" in result.metrics


def test_metric_schedule_follows_its_monitor(train: Train, tmp_path: Path) -> None:
    plateau = {"factor": 0.5, "patience": 0, "threshold": 1e9}
    scheduler = {
        "_type_": "torch",
        "type": "ReduceLROnPlateau",
        "kwargs": plateau,
        "interval": "metric",
        "monitor": "val/loss",
    }
    train("trainer.val_every_n_steps=4", data=VALIDATED, scheduler=scheduler)
    rates = {
        r["step"]: r["lr"] for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if "lr" in r
    }
    assert (rates[3], rates[13]) == (0.01, 0.01 * 0.5**3)


def test_normalised_batches_reach_the_model(train: Train, acme: None) -> None:
    seen: list[torch.Tensor] = []

    def spy(experiment: Any) -> None:
        experiment.models["model"].register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(kwargs["x"]), with_kwargs=True
        )

    train("trainer.max_steps=2", data={"_type_": "shifted", "batch_size": 4}, spy=spy)
    values = torch.cat(seen[:2])
    assert not values[:, 0].any()
    assert (float(values[:, 1].min()), float(values[:, 1].max())) == (-1.0, 1.0)


EVALUATION = {"_type_": "counting", "every": 5}


def test_evaluation_comes_at_its_steps_and_the_end(
    train: Train, acme: None, tmp_path: Path
) -> None:
    result = train(evaluation=EVALUATION)
    assert sys.modules["acme_parts"].SEEN == ["5 on the way", "10 on the way", "13 final"]
    assert result.evaluation["ci95"] == [0.2, 0.8]
    assert result.metrics["eval/success_rate"] == 0.5
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["evaluation"] == {
        "success_rate": 0.5,
        "n": 4,
        "ci95": [0.2, 0.8],
        "task": "reach",
    }
    folder = tmp_path / "run" / "evaluation" / "step-000000013"
    assert sorted(path.name for path in folder.iterdir()) == [
        "episodes.jsonl",
        "result.json",
        "settings.json",
    ]


def test_evaluation_does_not_change_the_training(train: Train, acme: None) -> None:
    measured = train(out="measured", evaluation=EVALUATION)
    assert measured.metrics["loss"] == train(out="plain").metrics["loss"]


def test_finished_evaluation_is_not_repeated(train: Train, acme: None) -> None:
    train(evaluation=EVALUATION)
    assert train(evaluation=EVALUATION).evaluation["success_rate"] == 0.5
    assert len(sys.modules["acme_parts"].SEEN) == 3


def test_evaluation_with_other_settings_is_done(train: Train, acme: None) -> None:
    train(evaluation=EVALUATION)
    assert train(evaluation=EVALUATION | {"episodes": 9}).evaluation["n"] == 9


@pytest.mark.parametrize("every", [5, 13])
def test_finished_validation_is_not_repeated(train: Train, tmp_path: Path, every: int) -> None:
    saves = [{"_type_": "model_checkpoint", "every_n_steps": every}]
    train(data=VALIDATED, callbacks=saves)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    train(data=VALIDATED, callbacks=saves)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("step", [5, 13])
def test_interrupted_evaluation_is_done_again(
    train: Train, acme: None, tmp_path: Path, step: int
) -> None:
    result = train(evaluation=EVALUATION | {"signal_at": step})
    assert (result.status, result.step) == ("interrupted", step)
    seen: list[str] = sys.modules["acme_parts"].SEEN
    seen.clear()
    whole = train(evaluation=EVALUATION)
    assert whole.status == "completed"
    assert seen[0].startswith(f"{step} ")
    assert whole.metrics["loss"] == train(out="plain").metrics["loss"]


def test_training_goes_on_after_an_evaluation_that_fails(
    train: Train, acme: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = train(evaluation=EVALUATION | {"fails_at": 5})
    assert (result.status, result.evaluation["n"]) == ("completed", 4)
    assert sys.modules["acme_parts"].SEEN == ["5 on the way", "10 on the way", "13 final"]
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    what = "OSError: the simulator fell over. The evaluation at step 5 gave no result"
    assert told == [f"{what}; training goes on"]
    assert not (tmp_path / "run/evaluation/step-000000005").exists()


def test_last_evaluation_that_fails_loses_no_step(train: Train, acme: None, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the simulator fell over"):
        train(evaluation=EVALUATION | {"fails_at": 13})
    assert (tmp_path / "run/checkpoints/step-000000013").is_dir()
    sys.modules["acme_parts"].SEEN.clear()
    assert train(evaluation=EVALUATION).evaluation["n"] == 4
    assert sys.modules["acme_parts"].SEEN == ["13 final"]


def test_plain_trainer_trains_and_validates(train: Train, acme: None, tmp_path: Path) -> None:
    trainer = {"_type_": "plain_validated", "max_steps": 4, "log_every_n_steps": 2}
    result = train(trainer=trainer, data=VALIDATED, run={"name": "plain", "device": "cpu"})
    assert result.metrics["half"] == pytest.approx(result.metrics["loss"] / 2)
    assert val_steps(tmp_path / "run") == [4]


def test_plain_trainer_without_validation_has_none(
    train: Train, acme: None, tmp_path: Path
) -> None:
    trainer = {"_type_": "plain", "max_steps": 4}
    train(trainer=trainer, data=VALIDATED)
    assert val_steps(tmp_path / "run") == []


def test_validation_that_takes_long_shows_how_far_it_is(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trainer_core.engine.measuring._WORTH_SHOWING_S", -1.0)
    monkeypatch.setattr("trainer_core.engine.progress._QUIET_S", 0.0)
    train(data=VALIDATED)
    assert "validation 4/7: samples\nvalidation 7/7: samples\n" in capsys.readouterr().err
