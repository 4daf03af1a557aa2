"""A small share of each row of the fault table; `hatch run faults` is the long form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benchmarks.faults.table import Budget, find_rows, run_row

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("row", find_rows())
def test_what_is_promised_holds_after_each_fault(row: str, tmp_path: Path) -> None:
    result = run_row(row, Budget(tmp_path, scale=0.002))
    assert result.failures == []
    assert result.absent or result.reached
