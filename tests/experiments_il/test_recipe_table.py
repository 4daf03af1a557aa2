"""`hatch run recipes`: a row for each small recipe, also of those that fail."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from benchmarks.recipes import NAMES, main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_recipe_has_a_row_with_its_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["toy_flow_matching_small", "--steps", "2", "--work", str(tmp_path)]) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(
        r"\| il/toy_flow_matching_small \| 2 \| \d+% of \d+ \(95 % interval .*\) \| \d+\.\d \|", row
    )


def test_recipe_that_fails_has_a_row_and_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pick_place", "--steps", "-1", "--work", str(tmp_path)]) == 1
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith("| il/pick_place | 0 | FAILED: <cli>:2:19: error: trainer.max_steps: ")


def test_recipe_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["vfp"])
    assert (
        "there is no small recipe 'vfp'; there are pick_place, reach, " in capsys.readouterr().err
    )
    assert "vfp_small" in NAMES
