"""Says which wheels are others than those that a checkpoint was written with."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from trainer_core.discovery.fingerprint import wheel_differences

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["warn_of_other_wheels"]

_log = logging.getLogger(__name__)


def warn_of_other_wheels(checkpoint: Path, recorded: str | None) -> None:
    """Warn where the run's wheels differ from those of the checkpoint it goes on from.

    Args:
        checkpoint: Folder of the checkpoint; it may be without a record.
        recorded: The run's own `plugins.json`; None on the ranks that write nothing.
    """
    if recorded is None:
        return
    try:
        before = json.loads((checkpoint / "plugins.json").read_bytes())
    except (OSError, ValueError):
        return
    if "wheels" not in before:
        return
    differences = wheel_differences(before, json.loads(recorded))
    if differences:
        words = "; ".join(differences)
        _log.warning("%s was written with other wheels: %s", checkpoint.name, words)
