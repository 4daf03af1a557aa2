from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from trainer_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer_core.results import RunResult

SNAPSHOT = {"_type_": "memory_snapshot"}


class Greedy:
    """Asks for more memory than there is, after a step."""

    @hookimpl
    def trainer_step_end(self, state: Any) -> None:
        if state.step == 4:
            torch.empty(1 << 55)


def test_step_that_was_asked_for_is_described(
    train: Callable[..., RunResult], tmp_path: Path
) -> None:
    train(callbacks=[{**SNAPSHOT, "at_step": 5, "largest": 3}])
    report = (tmp_path / "run" / "profile" / "memory-step-000000005.txt").read_text()
    lines = report.splitlines()
    assert lines[0] == "after step 5"
    assert "resident memory of the process" in report
    for kind in ("parameters", "gradients", "optimizer states", "other tensors"):
        assert any(line.endswith(f"MiB  {kind}") for line in lines)
    assert len(lines[lines.index("the 3 largest tensors") + 1 :]) == 3


def test_exhausted_memory_is_described(train: Callable[..., RunResult], tmp_path: Path) -> None:
    def spy(experiment: Any) -> None:
        experiment.hooks._manager.register(Greedy())

    with pytest.raises(RuntimeError, match="allocate memory"):
        train(callbacks=[{**SNAPSHOT, "largest": 500}], spy=spy)
    report = (tmp_path / "run" / "profile" / "memory-step-000000004.txt").read_text()
    assert report.startswith("after step 4: ")
    assert "parameters       model/" in report


def test_healthy_run_leaves_nothing(train: Callable[..., RunResult], tmp_path: Path) -> None:
    train(callbacks=[SNAPSHOT])
    assert not (tmp_path / "run" / "profile").exists()
