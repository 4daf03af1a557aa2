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
from experiments_il.data.near_paths import missing_data
from experiments_il.data.relative_spec import check_relative
from policy_constructor.spelling import nearest
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from experiments_il.data.lerobot_format import Feature, LeRobotInfo
    from trainer_core.protocols import BatchReport, BatchShapes

__all__ = [
    "describe",
    "describe_features",
    "describe_named",
    "read_description",
    "report_episodes",
    "report_missing",
]

_ALWAYS = frozenset({"index", "task"})


def describe(parameters: Mapping[str, Any], report: BatchReport) -> BatchShapes | None:
    """Return the shape of each key of the batches of `lerobot`; None without a data set.

    Args:
        parameters: Those of the factory, as the file has them.
        report: Receives the keys that the data set does not have, and windows of no frames.
    """
    info = read_description(parameters, report)
    if info is None:
        return None
    report_episodes(info.total_episodes, parameters, report)
    return describe_features(info.features, parameters, report)


def read_description(parameters: Mapping[str, Any], report: BatchReport) -> LeRobotInfo | None:
    """Return what `info.json` says; None, after a report, if it is not there or cannot be read."""
    root = Path(str(parameters.get("root", ""))).expanduser()
    if report_missing("root", root, report):
        return None
    if not (root / INFO_PATH).is_file():
        message = f"the folder '{root}' is no LeRobotDataset: it has no {INFO_PATH}"
        report(("root",), message, on="value", absent=True)
        return None
    try:
        return read_info(root)
    except DatasetError as error:
        report(("root",), str(error))
        return None


def report_missing(parameter: str, path: Path, report: BatchReport) -> bool:
    """Report a path that does not exist, with what there is; return whether it is missing."""
    if path.exists():
        return False
    there, near = missing_data(path)
    report((parameter,), f"there is no data set at '{path}'{there}", near, on="value", absent=True)
    return True


def report_episodes(total: int, parameters: Mapping[str, Any], report: BatchReport) -> None:
    """Report the entries of `episodes` that a data set of so many does not have."""
    episodes = parameters.get("episodes")
    for index, number in enumerate(episodes if isinstance(episodes, list) else ()):
        if not 0 <= number < total:
            message = f"there is no episode {number}; the data set has 0 to {total - 1}"
            report(("episodes", index), message)


def describe_named(parameters: Mapping[str, Any], report: BatchReport) -> BatchShapes | None:
    """Return the keys of batches of HDF5 files as far as the parameters name them.

    The files are not opened, for that takes numpy: shapes are known of masks and of `index` only.

    Args:
        parameters: Those of the factory, as the file has them.
        report: Receives windows of no frames.
    """
    windows, deltas = parameters.get("windows") or {}, parameters.get("delta_timestamps") or {}
    keys = parameters.get("keys")
    path = Path(str(parameters.get("path", ""))).expanduser()
    is_missing = report_missing("path", path, report)
    crooked = _report_crooked(windows, deltas, report)
    if keys is None or crooked or is_missing:
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


def _report_crooked(
    windows: Mapping[str, Any], deltas: Mapping[str, Any], report: BatchReport
) -> bool:
    """Report windows of no frames, and keys with two; return whether there are any."""
    crooked = [key for key, span in windows.items() if len(span) != 2 or span[0] >= span[1]]
    for key in crooked:
        message = "expected two integers [start, stop] with start < stop, found {}"
        report(("windows", key), message.format(windows[key]))
    far = [key for key, span in windows.items() if key not in crooked and _reach(span) > FARTHEST]
    for key in far:
        message = f"reaches {_reach(windows[key])} frames from the sample, more than {FARTHEST}"
        report(("windows", key), message)
    empty = [key for key, seconds in deltas.items() if not seconds]
    for key in empty:
        report(("delta_timestamps", key), "expected at least one time difference")
    twice = [key for key in windows if key in deltas]
    for key in twice:
        message = "is given in windows and in delta_timestamps; keep one of them"
        report(("windows", key), message, on="key")
    return bool(crooked or far or empty or twice)


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
    if _report_crooked(windows, deltas, report) or wrong:
        return None
    _report_relative(features, parameters, report)
    lengths = {key: span[1] - span[0] for key, span in windows.items()}
    lengths |= {key: len(seconds) for key, seconds in deltas.items()}
    return {
        key: held.shape
        for name in batch_names(features, keys, tuple(lengths))
        for key, held in describe_key(name, features.get(name), lengths.get(name))
    }


def _report_relative(
    features: Mapping[str, Feature], parameters: Mapping[str, Any], report: BatchReport
) -> None:
    """Report relative keys whose dimensions do not belong to those of their reference."""
    windows = parameters.get("windows") or {}
    for key, spec in (parameters.get("relative_actions") or {}).items():
        if not isinstance(spec, dict):
            continue
        reference = spec.get("reference", DEFAULT_REFERENCE)
        window = tuple(range(*windows[reference])) if reference in windows else None
        try:
            check_relative(key, spec, features, window)
        except DatasetError as error:
            has_dims = "dims" in spec and "dims" in str(error)
            place = ("relative_actions", key, *(("dims",) if has_dims else ()))
            report(place, str(error).removeprefix(f"relative_actions.{key}: "))
