"""`loss_curve.png` and `report.html`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write_report"]


def write_report(out_dir: Path) -> None:
    """Write the report."""
    del out_dir
