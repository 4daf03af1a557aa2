"""Says which wheels and libraries are others than those that a checkpoint was written with."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from trainer_core.discovery.fingerprint import wheel_differences
from trainer_core.storage import read_json_mapping

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["warn_of_other_libraries", "warn_of_other_wheels"]

_log = logging.getLogger(__name__)

_LIBRARIES = ("torch", "numpy", "safetensors")


def warn_of_other_wheels(checkpoint: Path, recorded: str | None) -> None:
    """Warn where the run's wheels differ from those of the checkpoint it goes on from.

    Args:
        checkpoint: Folder of the checkpoint; it may be without a record.
        recorded: The run's own `plugins.json`; None on the ranks that write nothing.
    """
    if recorded is None:
        return
    before = read_json_mapping(checkpoint / "plugins.json")
    if "wheels" not in before:
        return
    differences = wheel_differences(before, json.loads(recorded))
    if differences:
        words = "; ".join(differences)
        _log.warning("%s was written with other wheels: %s", checkpoint.name, words)


def warn_of_other_libraries(checkpoint: Path, recorded: str | None) -> None:
    """Warn where Python or a library that computes is of another version: results may differ.

    Args:
        checkpoint: Folder of the checkpoint; it may be without a record.
        recorded: The run's own `environment.json`; None on the ranks that write nothing.
    """
    if recorded is None:
        return
    before, now = (
        _versions(read_json_mapping(checkpoint / "environment.json")),
        json.loads(recorded),
    )
    differences = [
        f"{name} {before[name]} is now {version}"
        for name, version in _versions(now).items()
        if name in before and before[name] != version
    ]
    if differences:
        words = "; ".join(differences)
        _log.warning("%s was written with other libraries: %s", checkpoint.name, words)


def _versions(environment: dict[str, Any]) -> dict[str, Any]:
    packages = environment.get("packages")
    known = packages if isinstance(packages, dict) else {}
    versions = {name: known[name] for name in _LIBRARIES if name in known}
    return {"python": environment["python"], **versions} if "python" in environment else versions
