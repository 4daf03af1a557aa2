from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trainer_core.checkpoint.layout import list_steps, step_name
from trainer_core.checkpoint.retention import prune

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("keep_last", "keep_steps", "left"),
    [(2, (), [9, 7]), (1, (), [9]), (0, (), [9]), (1, (3,), [9, 3]), (5, (), [9, 7, 5, 3])],
)
def test_newest_and_named_steps_are_kept(
    tmp_path: Path, keep_last: int, keep_steps: tuple[int, ...], left: list[int]
) -> None:
    for step in (3, 5, 7, 9):
        (tmp_path / step_name(step)).mkdir()
        (tmp_path / step_name(step) / "state.json").write_text("{}")
    gone = prune(tmp_path, keep_last, keep_steps=keep_steps)
    assert [step for step, _ in list_steps(tmp_path)] == left
    assert sorted([*gone, *left]) == [3, 5, 7, 9]
    assert not list(tmp_path.glob(".tmp-*"))
