from __future__ import annotations

from pathlib import Path

import pytest

from trainer_core.checkpoint.layout import list_steps, step_name


@pytest.mark.parametrize(
    ("step", "name"), [(0, "step-000000000"), (120, "step-000000120"), (10**10, "step-10000000000")]
)
def test_step_has_its_folder_name(step: int, name: str) -> None:
    assert step_name(step) == name


def test_only_checkpoints_are_listed_newest_first(tmp_path: Path) -> None:
    for name in ("step-000000003", "step-000000012", "step-3", ".tmp-step-000000099-a", "LATEST"):
        (tmp_path / name).mkdir()
    assert [step for step, _ in list_steps(tmp_path)] == [12, 3]
    assert list_steps(tmp_path / "nowhere") == []


def test_impossible_folder_has_no_steps() -> None:
    assert list_steps(Path("a" * 300)) == []
