"""The keys and shapes of a mixture's batches, from parameters alone: for `trainer check`.

Imports neither torch nor numpy, as `batch_shapes`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from experiments_il.data import batch_shapes, zarr_layout
from experiments_il.data.lerobot_format import read_info
from experiments_il.data.mixture_names import MERGED, different_rates, wrong_names
from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainer_core.protocols import BatchReport, BatchShapes

__all__ = ["describe"]

_Shapes: TypeAlias = "dict[str, tuple[int, ...] | None]"
_Place: TypeAlias = "tuple[str | int, ...]"
_DESCRIBERS = {
    "episodic_hdf5": batch_shapes.describe_named,
    "lerobot": batch_shapes.describe,
    "robomimic_hdf5": batch_shapes.describe_named,
    "zarr_replay": zarr_layout.describe,
}


def describe(parameters: Mapping[str, Any], report: BatchReport) -> BatchShapes | None:
    """Return the shape of each key of a mixture's batches; None if some are not known.

    Args:
        parameters: Those of the factory, as the file has them.
        report: Receives what is wrong with the parameters of each data set, names of data sets and
            keys that there are not, and data sets that do not fit together.
    """
    said: list[str] = []

    def tell(place: _Place, message: str, *more: Any, **details: Any) -> None:
        said.append(message)
        report(place, message, *more, **details)

    merged = _described(parameters, tell)
    return None if said else merged


def _described(parameters: Mapping[str, Any], report: BatchReport) -> BatchShapes | None:
    datasets = parameters.get("datasets") or {}
    _report_names(datasets, parameters, report)
    own = {name: _own_shapes(name, spec, report) for name, spec in datasets.items()}
    known = {name: shapes for name, shapes in own.items() if shapes is not None}
    _report_keys(known, parameters, report)
    if len(known) < len(own) or not own:
        return None
    _report_rates(datasets, parameters, report)
    members = {name: _in_schema(name, shapes, parameters) for name, shapes in known.items()}
    keys = parameters.get("keys")
    if keys is None:
        keys = [key for key in next(iter(members.values())) if _in_all(key, members)]
    else:
        for index, key in enumerate(keys):
            lacking = [name for name, shapes in members.items() if key not in shapes]
            if lacking:
                near = nearest(key, members[lacking[0]])
                report(("keys", index), f"'{lacking[0]}' has no key {key!r}", near)
        masks = [f"{key}{end}" for key in keys for end in ("_is_pad", "_dim_is_pad")]
        keys = [*keys, *(mask for mask in masks if _in_all(mask, members))]
    _report_differences(keys, members, parameters, report)
    merged = {key: _same(key, members) for key in keys}
    return {**merged, "dataset_index": ()}


def _report_names(
    datasets: Mapping[str, Any], parameters: Mapping[str, Any], report: BatchReport
) -> None:
    for wrong in wrong_names(
        datasets,
        weights=parameters.get("weights") or {},
        rename=parameters.get("rename") or {},
        statistics=str(parameters.get("statistics", MERGED)),
    ):
        report(wrong.place, wrong.message, wrong.suggestions, on="key" if wrong.is_key else "value")


def _own_shapes(name: str, spec: Any, report: BatchReport) -> _Shapes | None:
    """Return the shapes of a data set by its own keys."""
    describe_member = _DESCRIBERS.get(_kind(spec))
    if describe_member is None:
        return None

    def report_member(place: _Place, message: str, *said: Any, **details: Any) -> None:
        report(("datasets", name, *place), message, *said, **details)

    shapes = describe_member(spec, report_member)
    return None if shapes is None else dict(shapes)


def _report_keys(
    known: Mapping[str, _Shapes], parameters: Mapping[str, Any], report: BatchReport
) -> None:
    """Report keys to rename that are not there, and values too wide."""
    for name, shapes in known.items():
        rename = (parameters.get("rename") or {}).get(name) or {}
        for key in rename:
            if key not in shapes:
                near = nearest(key, shapes)
                report(("rename", name, key), f"'{name}' has no key {key!r}", near, on="key")
        for key, width in (parameters.get("pad") or {}).items():
            own = next((old for old, new in rename.items() if new == key), key)
            found = shapes.get(own) or (width,)
            if found[-1] > width:
                message = f"'{key}' of '{name}' is {found[-1]} wide, more than {width}"
                report(("pad", key), message)


def _report_rates(
    datasets: Mapping[str, Any], parameters: Mapping[str, Any], report: BatchReport
) -> None:
    """Report different frame rates; those of robomimic's files are in the files."""
    rates = {
        name: read_info(Path(str(spec["root"])).expanduser()).fps
        if _kind(spec) == "lerobot"
        else spec.get("fps")
        for name, spec in datasets.items()
    }
    message = None if parameters.get("mixed_fps") else different_rates(rates)
    if message is not None:
        report(("datasets",), message, on="key")


def _in_schema(name: str, own: _Shapes, parameters: Mapping[str, Any]) -> _Shapes:
    """Return the shapes of a data set by the keys of the mixture."""
    rename = (parameters.get("rename") or {}).get(name) or {}
    pad = parameters.get("pad") or {}
    shapes: _Shapes = {}
    for key, shape in own.items():
        base = key.removesuffix("_is_pad")
        is_mask = key != base and base in rename
        new = f"{rename[base]}_is_pad" if is_mask else rename.get(key, key)
        shapes[new] = shape if new not in pad or not shape else (*shape[:-1], pad[new])
        if new in pad and parameters.get("pad_masks"):
            shapes[f"{new}_dim_is_pad"] = (pad[new],)
    return shapes


def _report_differences(
    keys: Sequence[str],
    members: Mapping[str, _Shapes],
    parameters: Mapping[str, Any],
    report: BatchReport,
) -> None:
    """Report keys whose values have other shapes in other data sets."""
    first, *others = members
    given = parameters.get("keys")
    for key in keys:
        one = members[first].get(key)
        for other in others:
            two = members[other].get(key)
            if key.endswith("_is_pad") or one is None or two is None or one == two:
                continue
            place = ("keys", given.index(key)) if given else ("datasets", other)
            message = (
                f"'{key}' is {list(one)} in '{first}' and {list(two)} in '{other}'; use pad, "
                "rename it, or leave it out of keys"
            )
            report(place, message)
            break


def _kind(spec: Any) -> str:
    return str(spec.get("_type_", "")).rpartition(".")[2] if isinstance(spec, dict) else ""


def _in_all(key: str, members: Mapping[str, Mapping[str, Any]]) -> bool:
    return all(key in shapes for shapes in members.values())


def _same(key: str, members: Mapping[str, Mapping[str, Any]]) -> tuple[int, ...] | None:
    """Return the shape that all data sets agree on; None if it is not known."""
    found = {shapes.get(key) for shapes in members.values()}
    return found.pop() if len(found) == 1 else None
