"""The keys and shapes of a mixture's batches, from parameters alone: for `trainer check`.

Imports neither torch nor numpy, as `batch_shapes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments_il.data import batch_shapes, zarr_layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.protocols import BatchReport, BatchShapes

__all__ = ["describe"]

_DESCRIBERS = {
    "episodic_hdf5": batch_shapes.describe_named,
    "lerobot": batch_shapes.describe,
    "robomimic_hdf5": batch_shapes.describe_named,
    "zarr_replay": zarr_layout.describe,
}


def describe(parameters: Mapping[str, Any], report: BatchReport) -> BatchShapes | None:
    """Return the shape of each key of a mixture's batches; None if a member's are not known.

    Args:
        parameters: Those of the factory, as the file has them.
        report: Receives what is wrong with the parameters of each data set, and keys of the mixture
            that a data set does not have.
    """
    members: dict[str, dict[str, tuple[int, ...] | None]] = {}
    for name, spec in (parameters.get("datasets") or {}).items():
        shapes = _member(name, spec, parameters, report)
        if shapes is None:
            return None
        members[name] = shapes
    if not members:
        return None
    keys = parameters.get("keys")
    if keys is None:
        keys = [key for key in next(iter(members.values())) if _in_all(key, members)]
    else:
        for index, key in enumerate(keys):
            lacking = [name for name, shapes in members.items() if key not in shapes]
            if lacking:
                report(("keys", index), f"'{lacking[0]}' has no key {key!r}")
        masks = [f"{key}{end}" for key in keys for end in ("_is_pad", "_dim_is_pad")]
        keys = [*keys, *(mask for mask in masks if _in_all(mask, members))]
    merged = {key: _same(key, members) for key in keys}
    return {**merged, "dataset_index": ()}


def _member(
    name: str, spec: Any, parameters: Mapping[str, Any], report: BatchReport
) -> dict[str, tuple[int, ...] | None] | None:
    """Return the shapes of a data set in the mixture's schema."""
    kind = str(spec.get("_type_", "")).rpartition(".")[2] if isinstance(spec, dict) else ""
    if kind not in _DESCRIBERS:
        return None

    def report_member(
        place: tuple[str | int, ...], message: str, suggestions: tuple[str, ...] = ()
    ) -> None:
        report(("datasets", name, *place), message, suggestions)

    own = _DESCRIBERS[kind](spec, report_member)
    if own is None:
        return None
    rename = (parameters.get("rename") or {}).get(name) or {}
    pad = parameters.get("pad") or {}
    shapes: dict[str, tuple[int, ...] | None] = {}
    for key, shape in own.items():
        base = key.removesuffix("_is_pad")
        is_mask = key != base and base in rename
        new = f"{rename[base]}_is_pad" if is_mask else rename.get(key, key)
        shapes[new] = shape if new not in pad or not shape else (*shape[:-1], pad[new])
        if new in pad and parameters.get("pad_masks"):
            shapes[f"{new}_dim_is_pad"] = (pad[new],)
    return shapes


def _in_all(key: str, members: Mapping[str, Mapping[str, Any]]) -> bool:
    return all(key in shapes for shapes in members.values())


def _same(key: str, members: Mapping[str, Mapping[str, Any]]) -> tuple[int, ...] | None:
    """Return the shape that all data sets agree on; None if it is not known."""
    found = {shapes.get(key) for shapes in members.values()}
    return found.pop() if len(found) == 1 else None
