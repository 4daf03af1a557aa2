"""A hook plugin: writes into the run folder how the run ended."""

from __future__ import annotations

from typing import Any

from trainer_core import hookimpl

__all__ = ["trainer_fit_end"]


@hookimpl
def trainer_fit_end(state: Any, status: str) -> None:
    """Write `announcement.txt`, on one rank only."""
    if state.ranks.is_main:
        text = f"{state.experiment.name}: {status} after {state.step} steps\n"
        (state.out_dir / "announcement.txt").write_text(text, encoding="utf-8")
