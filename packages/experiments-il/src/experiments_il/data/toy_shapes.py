"""What toy data sets hold, known without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.protocols import BatchReport, BatchShapes

__all__ = ["ACTION_DIM", "HORIZON", "STATE_DIM", "describe"]

HORIZON = 8
"""Points of a chunk."""
ACTION_DIM = 2
"""Across and along."""
STATE_DIM = 1
"""Of the state, which is zero and says nothing."""


def describe(parameters: Mapping[str, Any], report: BatchReport) -> BatchShapes:
    """Return the shapes of the batches of `data.toy_modes`."""
    del parameters, report  # the same whatever the parameters
    return {"observation.state": (1, STATE_DIM), "action": (HORIZON, ACTION_DIM), "index": ()}
