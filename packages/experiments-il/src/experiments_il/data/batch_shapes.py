"""The keys and shapes of batches, from parameters and `info.json` alone: for `trainer check`.

Imports neither torch nor numpy: what reads a file only must stay quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments_il.data.batch_features import (
    DEFAULT_REFERENCE,
    FARTHEST,
    batch_names,
    describe_key,
)
from experiments_il.data.lerobot_format import INFO_PATH, read_info
from policy_constructor.spelling import nearest
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from experiments_il.data.lerobot_format import Feature
    from trainer_core.protocols import BatchReport, BatchShapes

__all__ = ["describe", "describe_features", "describe_named"]

_ALWAYS = frozenset({"index", "task"})


def describe(parameters: Mapping[str, Any], report: BatchReport) -> BatchShapes | None:
    """Return the shape of each key of the batches of `lerobot`; None without a data set.

    Args:
        parameters: Those of the factory, as the file has them.
        report: Receives the keys that the data set does not have, and windows of no frames.
    """
    root = Path(str(parameters.get("root", ""))).expanduser()
    if not (root / INFO_PATH).is_file():
        return None
    try:
        info = read_info(root)
    except DatasetError as error:
        report(("root",), str(error))
        return None
    return describe_features(info.features, parameters, report)


def describe_named(parameters: Mapping[str, Any], report: BatchReport) -> BatchShapes | None:
    """Return the keys of batches of HDF5 files as far as the parameters name them.

    The files are not opened, for that takes numpy: shapes are known of masks and of `index` only.

    Args:
        parameters: Those of the factory, as the file has them.
        report: Receives windows of no frames.
    """
    windows, deltas = parameters.get("windows") or {}, parameters.get("delta_timestamps") or {}
    keys = parameters.get("keys")
    crooked = _report_crooked(windows, report)
    if keys is None or crooked:
        return None
    lengths = {key: span[1] - span[0] for key, span in windows.items()}
    lengths |= {key: len(seconds) for key, seconds in deltas.items()}
    shapes: dict[str, tuple[int, ...] | None] = dict.fromkeys([*keys, *lengths])
    shapes |= {f"{key}_is_pad": (length,) for key, length in lengths.items()}
    return {**shapes, "index": ()}


def _references(relative: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """Return the place of each reference of relative keys, and its key."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    for key, spec in relative.items():
        given = spec.get("reference") if isinstance(spec, dict) else None
        if isinstance(given, str):
            found.append((("relative_actions", key, "reference"), given))
        elif given is None:
            found.append((("relative_actions", key), DEFAULT_REFERENCE))
    return found


def _report_crooked(windows: Mapping[str, Any], report: BatchReport) -> bool:
    """Report windows of no frames; return whether there are any."""
    crooked = [key for key, span in windows.items() if len(span) != 2 or span[0] >= span[1]]
    for key in crooked:
        message = "expected two integers [start, stop] with start < stop, found {}"
        report(("windows", key), message.format(windows[key]))
    far = [key for key, span in windows.items() if key not in crooked and _reach(span) > FARTHEST]
    for key in far:
        message = f"reaches {_reach(windows[key])} frames from the sample, more than {FARTHEST}"
        report(("windows", key), message)
    return bool(crooked or far)


def _reach(span: list[int]) -> int:
    return max(abs(end) for end in span)


def describe_features(
    features: Mapping[str, Feature], parameters: Mapping[str, Any], report: BatchReport
) -> BatchShapes | None:
    """Return the same for known features; None if a parameter does not fit them."""
    windows, deltas = parameters.get("windows") or {}, parameters.get("delta_timestamps") or {}
    keys = parameters.get("keys")
    named = [("windows", key) for key in windows]
    named += [("delta_timestamps", key) for key in deltas]
    named += [("normalize", key) for key in parameters.get("normalize") or {}]
    named += [("relative_actions", key) for key in parameters.get("relative_actions") or {}]
    places: list[tuple[tuple[str | int, ...], str]] = [((name, key), key) for name, key in named]
    places += _references(parameters.get("relative_actions") or {})
    places += [(("keys", index), key) for index, key in enumerate(keys or ())]
    wrong = [each for each in places if each[1] not in features and each[1] not in _ALWAYS]
    for place, key in wrong:
        report(place, f"the data set has no key {key!r}", nearest(key, features))
    if _report_crooked(windows, report) or wrong:
        return None
    lengths = {key: span[1] - span[0] for key, span in windows.items()}
    lengths |= {key: len(seconds) for key, seconds in deltas.items()}
    return {
        key: held.shape
        for name in batch_names(features, keys, tuple(lengths))
        for key, held in describe_key(name, features.get(name), lengths.get(name))
    }
