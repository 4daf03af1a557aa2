from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from policy_constructor.errors import ConfigError
from trainer_core.callbacks.early_stopping import EarlyStopping
from trainer_core.errors import UserError
from trainer_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer_core.results import RunResult

SAVES = {"_type_": "model_checkpoint", "every_n_steps": 2, "every_minutes": None, "keep_last": 99}


def stopping(**parameters: Any) -> dict[str, Any]:
    return {"_type_": "early_stopping", **parameters}


class Scripted:
    """An evaluator whose scores are given by step."""

    def __init__(self, scores: dict[int, float]) -> None:
        self.scores = scores
        self.calls: list[int] = []

    def spy(self, experiment: Any) -> None:
        experiment.evaluator = self
        experiment.evaluate_every = 2

    def evaluate(self, context: Any) -> dict[str, Any]:
        self.calls.append(context.step)
        return {"score": self.scores.get(context.step, 0.0)}


def summary(result: RunResult) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((result.out_dir / "summary.json").read_text())
    return document


def run_scripted(
    train: Callable[..., RunResult], *scores: float, **parameters: Any
) -> tuple[RunResult, Scripted]:
    evaluator = Scripted({2 * i: score for i, score in enumerate(scores, start=1)})
    callback = EarlyStopping("eval/score", "max", **parameters)

    def spy(experiment: Any) -> None:
        evaluator.spy(experiment)
        experiment.hooks._manager.register(callback)

    return train(spy=spy), evaluator


def test_run_stops_when_patience_is_over(train: Callable[..., RunResult]) -> None:
    result, _ = run_scripted(train, 0.5, 0.6, 0.6, 0.55, 0.9, patience=2)
    assert (result.status, result.step) == ("completed", 8)
    reason = "early_stopping: eval/score not better for 2 checks (best 0.6)"
    assert summary(result)["stop_reason"] == reason


def test_better_value_begins_the_count_anew(train: Callable[..., RunResult]) -> None:
    result, _ = run_scripted(train, 0.5, 0.4, 0.6, 0.5, 0.7, 0.6, patience=2)
    assert result.step == 13


def test_small_gain_does_not_count(train: Callable[..., RunResult]) -> None:
    result, _ = run_scripted(train, 0.5, 0.55, 0.58, patience=2, min_delta=0.1)
    assert result.step == 6


def test_threshold_ends_the_run_at_once(train: Callable[..., RunResult]) -> None:
    result, _ = run_scripted(train, 0.5, 0.95, stopping_threshold=0.9)
    assert result.step == 4
    assert summary(result)["stop_reason"] == "early_stopping: eval/score 0.95 reached 0.9"


def test_value_that_is_not_a_number_is_no_better(train: Callable[..., RunResult]) -> None:
    nan = float("nan")
    result, _ = run_scripted(train, nan, nan, nan, patience=3)
    assert result.step == 6
    assert summary(result)["stop_reason"].endswith("for 3 checks (never finite)")


def test_validation_loss_stops_a_run(train: Callable[..., RunResult]) -> None:
    changes = ("trainer.val_every_n_steps=2", "data.val_size=6", "optimizer.kwargs.lr=1e-12")
    result = train(*changes, callbacks=[stopping(patience=2, min_delta=0.1)])
    assert result.step == 6
    assert "val/loss not better for 2 checks" in summary(result)["stop_reason"]


@pytest.mark.parametrize("cut", [3, 4, 6, 7])
def test_resumed_run_stops_at_the_same_step(train: Callable[..., RunResult], cut: int) -> None:
    changes = ("trainer.val_every_n_steps=2", "data.val_size=6", "optimizer.kwargs.lr=1e-12")
    callbacks = [stopping(patience=3, min_delta=0.1), SAVES]
    train(*changes, f"trainer.max_steps={cut}", callbacks=callbacks, scheduler=None)
    result = train(*changes, callbacks=callbacks, scheduler=None)
    assert result.step == 8
    assert "for 3 checks" in summary(result)["stop_reason"]


def test_stopped_run_goes_on_with_more_patience(train: Callable[..., RunResult]) -> None:
    changes = ("trainer.val_every_n_steps=2", "data.val_size=6", "optimizer.kwargs.lr=1e-12")
    for patience, step in ((2, 6), (2, 6), (4, 10)):
        result = train(*changes, callbacks=[stopping(patience=patience, min_delta=0.1)])
        assert result.step == step


def test_evaluation_that_an_earlier_process_finished_counts_once(
    train: Callable[..., RunResult],
) -> None:
    evaluator = Scripted({2: 0.5, 4: 0.4, 6: 0.3, 8: 0.9})

    def run(dies_at: int) -> RunResult:
        def spy(experiment: Any) -> None:
            evaluator.spy(experiment)
            experiment.hooks._manager.register(EarlyStopping("eval/score", "max", patience=2))
            experiment.hooks._manager.register(Killer(dies_at))

        return train(callbacks=[SAVES], spy=spy)

    with pytest.raises(KeyboardInterrupt):
        run(dies_at=4)
    assert run(dies_at=-1).step == 6
    assert evaluator.calls == [2, 4, 6]


class Killer:
    """Dies after the evaluation of a step, before the next checkpoint."""

    def __init__(self, step: int) -> None:
        self.step = step

    @hookimpl
    def trainer_measured(self, state: Any, metrics: Any) -> None:
        if state.step == self.step and "eval/score" in metrics:
            raise KeyboardInterrupt


def test_unknown_metric_names_the_near_ones(train: Callable[..., RunResult]) -> None:
    def rename(experiment: Any) -> None:
        experiment.trainer.validation_step = lambda *_: {"lose": 1.0}

    changes = ("trainer.val_every_n_steps=2", "data.val_size=6")
    message = "early_stopping watches 'val/loss', measured were val/lose; did you mean 'val/lose'?"
    with pytest.raises(UserError, match=re.escape(message)):
        train(*changes, spy=rename, callbacks=[stopping(monitor="val/loss")])


@pytest.mark.parametrize(
    ("monitor", "cure"),
    [("val/loss", "set trainer.val_every_n_steps"), ("eval/score", "set evaluation.every")],
)
def test_metric_that_is_measured_only_at_the_end_is_refused(
    train: Callable[..., RunResult], monitor: str, cure: str
) -> None:
    with pytest.raises(ConfigError, match=f"watches '{monitor}', measured only at the end; {cure}"):
        train(callbacks=[stopping(monitor=monitor)])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"monitor": "loss"}, "not 'loss'; did you mean 'val/loss' or 'eval/loss'?"),
        ({"mode": "least"}, "mode is 'min' or 'max', not 'least'"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"min_delta": -1}, "min_delta at least 0"),
    ],
)
def test_wrong_parameter_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        EarlyStopping(**parameters)
