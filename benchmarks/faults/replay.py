"""A replay buffer at work, and whether what it has acknowledged is there once, after whatever."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer_core.errors import StorageError
from trainer_ray.online.replay_buffer import ReplayBuffer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = [
    "ADDS",
    "KEYS",
    "PRODUCER",
    "adds_of",
    "content_problem",
    "kept_by",
    "open_buffer",
    "problem",
    "work",
]

ADDS = 7
PRODUCER = "arm"
KEYS: dict[str, dict[str, Any]] = {
    "action": {"shape": [2], "dtype": "float32", "offsets": [0, 1]},
    "frame": {"shape": [], "dtype": "int64", "offsets": None},
}
_CAPACITY, _SEGMENT_BYTES = 20, 1500
_TRIES = 4


def adds_of(number: int, producer: int = 0) -> list[dict[str, Any]]:
    """Return the episodes of an add; each frame has a number of its own."""
    first = 1_000_000 * producer + 100 * number
    return [_episode(first + 10 * place, 3 + (number + place) % 3) for place in range(2)]


def _episode(first: int, steps: int) -> dict[str, Any]:
    frames = np.arange(first, first + steps)
    action = np.stack([frames, -frames], axis=1).astype(np.float32)
    return {"columns": {"action": action, "frame": frames}, "success": True, "version": first}


def open_buffer(folder: Path) -> ReplayBuffer:
    """Open a small buffer whose segments are small too."""
    return ReplayBuffer(
        str(folder), KEYS, capacity=_CAPACITY, segment_bytes=_SEGMENT_BYTES, lock_patience_s=10.0
    )


def work(
    folder: Path,
    acknowledge: Callable[[int], object] = lambda _number: None,
    opened: list[ReplayBuffer] | None = None,
) -> None:
    """Add all there is to add, from where the folder ends; a full disk is tried again.

    Args:
        folder: Of the buffer.
        acknowledge: Called with the number of each add that has returned.
        opened: Gets the buffer, which its owner closes; else it is closed here.

    Raises:
        StorageError: The disk goes on refusing.
    """
    buffer = open_buffer(folder)
    if opened is not None:
        opened.append(buffer)
    for number in range(buffer.last_number(PRODUCER) + 1, ADDS):
        for _ in range(_TRIES):
            with suppress(StorageError):
                buffer.add(PRODUCER, number, adds_of(number))
                break
        else:
            buffer.add(PRODUCER, number, adds_of(number))
        acknowledge(number)
    if opened is None:
        buffer.close()


def problem(folder: Path, acknowledged: int, *, may_be_damaged: bool = False) -> str:
    """Return what is wrong with what is left of a buffer; empty if nothing is.

    Args:
        folder: What a kill has left.
        acknowledged: The last number that was acknowledged; -1: none.
        may_be_damaged: After a power cut what was not acknowledged may look damaged.
    """
    buffer = open_buffer(folder)
    last = buffer.last_number(PRODUCER)
    lost = buffer.describe()["lost"]
    found = content_problem(buffer, kept_by(range(last + 1)))
    buffer.close()
    if last not in {acknowledged, acknowledged + 1}:
        return f"{acknowledged} was acknowledged, and the last number is {last}"
    if lost and not may_be_damaged:
        return f"it speaks of damage: {lost[0]}"
    if found:
        return found
    work(folder)
    buffer = open_buffer(folder)
    found = content_problem(buffer, kept_by(range(ADDS)))
    buffer.close()
    return found and f"going on: {found}"


def kept_by(numbers: Iterable[int]) -> set[int]:
    """Return the frames that a buffer has after these adds."""
    kept: list[list[int]] = []
    for number in numbers:
        kept += [episode["columns"]["frame"].tolist() for episode in adds_of(number)]
    while sum(map(len, kept)) > _CAPACITY:
        del kept[0]
    return {frame for episode in kept for frame in episode}


def content_problem(buffer: ReplayBuffer, wanted: set[int]) -> str:
    """Return in what a buffer's frames differ from those wanted, each once; empty if in nothing."""
    frames = buffer.describe()["frames"]
    windows = buffer.sample(40 * max(1, frames), 0)["windows"]
    found = set() if windows is None else set(windows["frame"].tolist())
    if lost := wanted - found:
        return f"{len(lost)} frames are lost, {min(lost)} the first"
    if more := found - wanted:
        return f"{len(more)} frames are too many, {min(more)} the first"
    if frames != len(wanted):
        return f"{frames - len(wanted)} frames are there twice"
    if windows is not None and not (windows["action"][:, 0, 0] == windows["frame"]).all():
        return "columns are mixed up"
    return ""
