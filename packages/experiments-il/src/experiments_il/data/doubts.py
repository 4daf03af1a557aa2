"""What may be wrong with the numbers of a data set as a whole, whatever its format."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.episode_stream import own_features
from experiments_il.data.faults import Fault
from experiments_il.data.statistics import column_statistics
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from experiments_il.data.source import FrameSource

__all__ = ["doubts_about"]

_SHORT_SHARE = 0.2
_FEW_VALUES = 8
_JUMP_STEPS = 20.0
_JUMP_SHARE = 0.25
_TOLERANCE = 1e-3
_COMPARED = ("min", "max", "mean", "std")


def doubts_about(source: FrameSource) -> list[Fault]:
    """Return warnings and notes about episodes and numbers, and recorded statistics that are wrong.

    Nothing is said of columns that cannot be read: others say it.
    """
    columns = _float_columns(source)
    return [
        *_short_episodes(source),
        *_same_episodes(source, columns),
        *_constant_dimensions(source, columns),
        *(fault for name in columns for fault in _jumps(source, name, columns[name])),
        *_statistics_faults(source, columns),
    ]


def _float_columns(source: FrameSource) -> dict[str, NDArray[Any]]:
    """Return actions, observations and other floats, `(frames, dimensions)`."""
    total = int(source.episodes.stop[-1])
    columns: dict[str, NDArray[Any]] = {}
    for name, feature in own_features(source).items():
        if not feature.dtype.startswith("float"):
            continue
        try:
            column = np.empty((total, *feature.item_shape), feature.dtype)
            for rows, values in source.read_columns([name]):
                column[rows] = values[name]
        except (DatasetError, MemoryError):
            continue
        if column.size and np.isfinite(column).all():
            columns[name] = column.reshape(total, -1)
    return columns


def _short_episodes(source: FrameSource) -> Iterator[Fault]:
    lengths = source.episodes.length
    median = float(np.median(lengths))
    for episode in np.flatnonzero((lengths < 2) | (lengths < _SHORT_SHARE * median)).tolist():
        frames = int(lengths[episode])
        count = f"{frames} frames" if frames > 1 else "1 frame"
        yield _warning(source, f"has {count}; the median is {median:g}", episode)


def _same_episodes(source: FrameSource, columns: Mapping[str, NDArray[Any]]) -> Iterator[Fault]:
    seen: dict[bytes, int] = {}
    episodes = source.episodes
    bounds = zip(episodes.start.tolist(), episodes.stop.tolist(), strict=True)
    for episode, (start, stop) in enumerate(bounds):
        if not columns or stop - start < 2:
            continue
        digest = hashlib.sha256()
        for column in columns.values():
            digest.update(np.ascontiguousarray(column[start:stop]).tobytes())
        first = seen.setdefault(digest.digest(), episode)
        if first != episode:
            yield _warning(source, f"holds the same numbers as episode {first}", episode)


def _constant_dimensions(
    source: FrameSource, columns: Mapping[str, NDArray[Any]]
) -> Iterator[Fault]:
    for name, column in columns.items():
        if not name.startswith(("action", "observation")) or len(column) < 2:
            continue
        constant = np.flatnonzero(np.ptp(column, axis=0) == 0).tolist()
        if constant:
            word = "dimensions" if len(constant) > 1 else "dimension"
            numbers = ", ".join(str(number) for number in constant)
            message = (
                f"'{name}' never changes in {word} {numbers}, as where a joint is not used; "
                "normalised it is 0"
            )
            yield Fault(str(source.root), message, level="note")


def _jumps(source: FrameSource, name: str, column: NDArray[Any]) -> Iterator[Fault]:
    """Yield the first jump of each episode: a step far beyond nine tenths of all steps.

    Dimensions with few values, such as grippers, jump by their nature.
    """
    if not name.startswith(("action", "observation")) or len(column) < 2:
        return
    episodes = source.episodes
    steps = np.abs(np.diff(column.astype(np.float64), axis=0))
    steps[episodes.stop[:-1] - 1] = 0
    usual = np.quantile(steps, 0.9, axis=0)
    is_jump = (steps > _JUMP_STEPS * usual) & (steps > _JUMP_SHARE * np.ptp(column, axis=0))
    is_jump &= (usual > 0) & np.array([len(np.unique(each)) > _FEW_VALUES for each in column.T])
    rows = np.flatnonzero(is_jump.any(axis=1)) + 1
    numbers = np.searchsorted(episodes.stop, rows, side="right")
    for episode in np.unique(numbers).tolist():
        here = rows[numbers == episode]
        row = int(here[0])
        dimension = int(np.argmax(is_jump[row - 1]))
        more = f" ({len(here)} jumps)" if len(here) > 1 else ""
        message = (
            f"'{name}' jumps from {column[row - 1, dimension]:.4g} to {column[row, dimension]:.4g} "
            f"in dimension {dimension}{more}: were frames dropped?"
        )
        yield _warning(source, message, episode, row - int(episodes.start[episode]))


def _statistics_faults(source: FrameSource, columns: Mapping[str, NDArray[Any]]) -> Iterator[Fault]:
    """Yield recorded statistics that are missing or that the numbers do not have."""
    if not hasattr(source, "metadata"):  # other formats record none
        return
    try:
        recorded = source.statistics()
    except DatasetError as error:
        yield Fault(str(source.root), str(error))
        return
    missing = [name for name in columns if name not in recorded]
    if missing:
        message = f"no statistics of {', '.join(missing)}: they are computed when they are needed"
        yield Fault(str(source.root), message, level="note")
    for name, column in columns.items():
        fault = _wrong_statistic(name, column, recorded[name]) if name in recorded else None
        if fault is not None:
            yield Fault(str(source.root), fault)


def _wrong_statistic(name: str, column: NDArray[Any], recorded: Mapping[str, Any]) -> str | None:
    found = column_statistics(column)
    scale = np.maximum(found["max"] - found["min"], 1e-6 * np.abs(found["max"]) + 1e-12)
    for key in _COMPARED:
        try:
            values = np.asarray(recorded[key], np.float64).reshape(-1)
        except (KeyError, TypeError, ValueError, OverflowError):
            return f"the recorded '{key}' of '{name}' is missing or no number"
        if values.shape != found[key].shape:
            return (
                f"the recorded '{key}' of '{name}' has {len(values)} values, the data {len(scale)}"
            )
        wrong = np.flatnonzero(~(np.abs(values - found[key]) <= _TOLERANCE * scale))
        if wrong.size:
            n = int(wrong[0])
            return (
                f"the recorded '{key}' of '{name}' is {values[n]:.4g} in dimension {n}, the data's "
                f"is {found[key][n]:.4g}; `trainer data convert` computes it anew"
            )
    return None


def _warning(
    source: FrameSource, message: str, episode: int | None = None, frame: int | None = None
) -> Fault:
    time_s = None if frame is None else frame / source.fps
    return Fault(str(source.root), message, None, episode, frame, time_s, level="warning")
