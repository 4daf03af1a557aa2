from __future__ import annotations

import gzip
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.callbacks.profiler import Profiler
from trainer_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer_core.results import RunResult


def profiler(**parameters: Any) -> dict[str, Any]:
    return {"_type_": "profiler", **parameters}


def test_steps_are_traced_and_tabled(train: Callable[..., RunResult], tmp_path: Path) -> None:
    train(callbacks=[profiler(from_step=4, steps=2)])
    folder = tmp_path / "run" / "profile"
    table = (folder / "steps-000000004-000000006.txt").read_text()
    assert table.startswith("2 steps, ")
    assert "aten::addmm" in table
    with gzip.open(folder / "steps-000000004-000000006.trace.json.gz") as file:
        events = json.load(file)["traceEvents"]
    optimizer_steps = [each for each in events if "Optimizer.step" in each.get("name", "")]
    assert len(optimizer_steps) == 2


def test_run_that_ends_early_leaves_what_was_traced(
    train: Callable[..., RunResult], tmp_path: Path
) -> None:
    train(callbacks=[profiler(from_step=0, steps=100)])
    assert (tmp_path / "run" / "profile" / "steps-000000000-000000013.txt").is_file()


def test_steps_that_never_come_leave_nothing(
    train: Callable[..., RunResult], tmp_path: Path
) -> None:
    train(callbacks=[profiler(from_step=13)])
    assert not (tmp_path / "run" / "profile").exists()


def test_tracing_changes_no_number(train: Callable[..., RunResult]) -> None:
    plain = train(out="plain")
    traced = train(out="traced", callbacks=[profiler(from_step=2)])
    assert traced.metrics["loss"] == plain.metrics["loss"]


class Blocks:
    """Puts a file where the folder would be."""

    @hookimpl
    def trainer_fit_start(self, state: Any) -> None:
        (state.out_dir / "profile").write_text("in the way")


def test_folder_that_refuses_is_a_warning(
    train: Callable[..., RunResult], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        result = train(
            callbacks=[profiler(from_step=2)],
            spy=lambda experiment: experiment.hooks._manager.register(Blocks()),
        )
    assert result.status == "completed"
    assert "profiler: cannot write" in caplog.text


@pytest.mark.parametrize("parameters", [{"steps": 0}, {"steps": 101}, {"from_step": -1}])
def test_wrong_parameter_is_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        Profiler(**parameters)
