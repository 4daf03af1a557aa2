"""A metric that is watched and never measured is found with the first batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from policy_constructor.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.trainer_core.conftest import Train

SPLIT = ("data.val_size=6", "trainer.val_every_n_steps=2")
PLATEAU = {"_type_": "torch", "type": "ReduceLROnPlateau", "interval": "metric"}


@pytest.mark.parametrize(
    ("sections", "place"),
    [
        ({"callbacks": [{"_type_": "early_stopping", "monitor": "val/lose"}]}, "callbacks.0"),
        ({"callbacks": [{"_type_": "model_checkpoint", "monitor": "val/lose"}]}, "callbacks.0"),
        ({"scheduler": PLATEAU | {"monitor": "val/lose"}}, "scheduler"),
    ],
)
def test_unknown_monitor_is_refused_before_anything_is_written(
    train: Train, tmp_path: Path, sections: dict[str, Any], place: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        train(*SPLIT, **sections)
    (problem,) = caught.value.problems
    assert (problem.path, problem.message) == (f"{place}.monitor", "nothing measures 'val/lose'")
    assert problem.expected == "a metric of the validation, val/loss, or of the evaluation"
    assert problem.suggestions == ("val/loss",)
    assert not (tmp_path / "run").exists()


def test_metrics_of_their_own_names_are_left_to_the_first_validation(
    train: Train, acme: None
) -> None:
    watching = [{"_type_": "early_stopping", "monitor": "val/mean_prediction"}]
    result = train(*SPLIT, callbacks=watching, metrics=[{"_type_": "mean_prediction"}])
    assert "val/mean_prediction" in result.metrics


def test_schedule_that_rests_for_want_of_its_metric_is_said_once(
    train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    def rename(experiment: Any) -> None:
        experiment.trainer.validation_step = lambda *_: {"mse": 1.0}

    train(*SPLIT, spy=rename, scheduler=PLATEAU | {"monitor": "val/loss"})
    said = "a schedule rests: 'val/loss' was not measured; there are val/mse"
    assert caplog.messages.count(said) == 1
