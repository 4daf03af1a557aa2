"""`state.json`: what must be in it, told before any of it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer_core.checkpoint.layout import STATE
from trainer_core.errors import CheckpointError

if TYPE_CHECKING:
    from trainer_core.checkpoint.reader import Checkpoint

__all__ = ["read_state"]

_FIELDS: dict[str, type] = {
    "step": int,
    "samples": int,
    "seed": int,
    "global_batch": int,
    "metrics": dict,
    "evaluation": dict,
    "loop": dict,
    "host_rng": dict,
    "aliases": dict,
    "optimizers": dict,
    "schedules": dict,
}


def read_state(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint's `state.json`, with every field of the kind that is relied on.

    Raises:
        CheckpointError: It is not a mapping, or a field is missing or of another kind.
    """
    document = checkpoint.read_json(STATE)
    path = checkpoint.path / STATE
    if not isinstance(document, dict):
        msg = f"{path} is not a mapping"
        raise CheckpointError(msg)
    for name, kind in _FIELDS.items():
        if not isinstance(document.get(name), kind):
            msg = f"{path}: {name!r} is {_shown(document, name)}, expected {kind.__name__}"
            raise CheckpointError(msg)
    for name in ("step", "samples"):
        if document[name] < 0:
            msg = f"{path}: {name!r} is {document[name]}, expected at least 0"
            raise CheckpointError(msg)
    for component, shared in document["aliases"].items():
        if not isinstance(shared, dict) or not all(isinstance(v, str) for v in shared.values()):
            msg = f"{path}: the aliases of {component!r} are not names"
            raise CheckpointError(msg)
    return document


def _shown(document: dict[str, Any], name: str) -> str:
    return f"a {type(document[name]).__name__}" if name in document else "missing"
