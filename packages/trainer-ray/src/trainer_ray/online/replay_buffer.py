"""The replay buffer: newest episodes in memory, and on the disk before their add returns."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer_core.errors import StorageError, UserError
from trainer_core.storage import make_folder
from trainer_core.windows import Window
from trainer_ray.online.folder_lock import hold_folder
from trainer_ray.online.incoming import (
    Incoming,
    RefusedError,
    describe_keys,
    read_episode,
    read_keys,
    require_sender,
)
from trainer_ray.online.lease import Lease
from trainer_ray.online.ledger import (
    Added,
    Ledger,
    columns_of,
    describe_columns,
    from_bytes,
    to_bytes,
)
from trainer_ray.online.priorities import SumTree, importance
from trainer_ray.online.ring import Ring
from trainer_ray.online.segments import SEGMENT_BYTES, SegmentLog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["ReplayBuffer"]

_LEASE_S = 30.0
_FRAMES_OF_A_LIFE = 1 << 40  # numbers of frames between two starts
_SMALLEST_PRIORITY = 1e-6  # so that every frame is drawn now and then
_WEIGHTS = (1e-150, 1e150)  # of frames: whatever priority and exponent, sums and shares are numbers


class ReplayBuffer:
    """Episodes of all producers, for one learner. One call at a time, as in an actor of Ray.

    What `add` has returned for is on the disk: a buffer that is made again in the same folder has
    it, once, and goes on. All arguments and results are plain data and numpy arrays.

    Args:
        folder: Where the episodes are kept.
        keys: For each key of an episode `shape` (of a frame), `dtype`, and `offsets`: the frames
            around a sampled one that belong to the sample; None: that frame alone.
        capacity: Frames; beyond it the oldest episodes go, each as a whole.
        keep: `successes`, or `all`: failed episodes too.
        sampling: `uniform` over frames, or `prioritized`.
        priority_exponent: 0 is uniform, 1 fully in proportion to the priorities; usual 0.6.
        lock_patience_s: How long to wait for an earlier process that still has the folder.
        segment_bytes: Size of the files on the disk.

    Raises:
        UserError: An argument is wrong, the folder holds episodes of other keys or of a newer
            version, or another process has it.
        StorageError: The disk refuses.
    """

    def __init__(
        self,
        folder: str,
        keys: Mapping[str, Mapping[str, Any]],
        *,
        capacity: int,
        keep: str = "successes",
        sampling: str = "uniform",
        priority_exponent: float = 0.6,
        lock_patience_s: float = 10.0,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        _require("keep", keep, ("successes", "all"))
        _require("sampling", sampling, ("uniform", "prioritized"))
        if capacity < 1:
            msg = f"replay buffer: capacity is a number of frames of at least 1, not {capacity}"
            raise UserError(msg)
        self._columns = read_keys(keys)
        self._keys = describe_keys(keys)
        self._windows = {
            key: None if (offsets := about.get("offsets")) is None else Window(offsets)
            for key, about in keys.items()
        }
        self._keep = keep
        self._exponent = priority_exponent
        self._tree = SumTree() if sampling == "prioritized" else None
        self._largest_priority = 1.0
        self._lease = Lease(_LEASE_S)
        self._ledger = Ledger(describe_columns(self._columns))
        self._disk_error = self._refusal = ""
        with ExitStack() as opened:
            self._lock = hold_folder(make_folder(Path(folder)), lock_patience_s)
            opened.callback(os.close, self._lock)
            self._log = SegmentLog(Path(folder), segment_bytes=segment_bytes)
            first_frame = self._log.next_number * _FRAMES_OF_A_LIFE
            evict = self._forget if self._tree is not None else _do_nothing
            self._ring = Ring(self._columns, capacity, first_frame=first_frame, on_evict=evict)
            self._recover()
            opened.pop_all()

    def close(self) -> None:
        """Let another process have the folder."""
        self._log.close()
        os.close(self._lock)

    def _recover(self) -> None:
        for record in self._log.recover():
            try:
                if record.is_ledger:
                    self._take_over(record.payload)
                else:
                    self._add_again(record.segment, from_bytes(record.payload))
            except ValueError as error:
                self._log.lost.append(f"a record of segment {record.segment}: {error}")
        self._log.keep_damaged(self._ring.end_frame)
        self._log.drop(self._ring.first_frame)

    def _take_over(self, payload: memoryview) -> None:
        own = self._ledger.columns
        self._ledger.take_over(payload)
        self._require_columns(self._ledger.columns, own)

    def _add_again(self, segment: int, added: Added) -> None:
        if added.number <= self._ledger.last_number(added.producer):
            return  # written twice: the disk had refused it, and then had it all the same
        if added.kept:
            self._require_columns(columns_of(added), self._ledger.columns)
        self._ledger.count(added)
        self._insert([each for each in added.kept if each.length <= self._ring.capacity])
        self._log.extend_to(segment, self._ring.end_frame)

    def _require_columns(self, found: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        if found != own:
            msg = (
                f"the replay buffer in {self._log.folder} holds episodes of other keys: {found}; "
                f"this experiment has {own}; give it another folder"
            )
            raise UserError(msg)

    def add(self, producer: str, number: int, episodes: Sequence[Any]) -> dict[str, Any]:
        """Keep episodes; returns when they are on the disk.

        Args:
            producer: Who sends them: a name that no other producer has, also after a restart.
            number: Of this call; the numbers of a producer ascend. A number that is not above the
                last one was here before: nothing changes.
            episodes: `columns`: `(T, *shape)` of each key; `success`; `version`: step of the
                weights that acted, -1 if they were not the learner's; `priority`: of its frames,
                left out: the largest so far; `error`: why it is no data.

        Returns:
            `accepted`: how many are whole; `kept`: how many of them are kept; `refused`: `episode`
            (its place) and `reason` of the others; `repeated`: whether the number was here before.

        Raises:
            UserError: The producer is no name, the number no number, or the episodes are no list.
            StorageError: The disk or the memory is full; nothing of it was kept.
        """
        require_sender(producer, number, episodes)
        if number <= self._ledger.last_number(producer):
            return {"accepted": 0, "kept": 0, "refused": [], "repeated": True}
        whole, refused = self._look_at(episodes)
        kept = [episode for episode in whole if self._keep == "all" or episode.is_success]
        outcomes = [episode.is_success for episode in whole]
        added = Added(producer, number, outcomes, len(refused), kept)
        self._reserve(added)
        end_frame = self._ring.end_frame + added.frames
        try:
            self._log.append(to_bytes(added), end_frame, self._ledger.to_bytes)
        except StorageError as error:
            self._disk_error = str(error)
            raise
        self._disk_error = ""
        if refused:
            self._refusal = f"{producer}: {refused[-1]['reason']}"
        self._ledger.count(added)
        self._insert(kept)
        self._log.drop(self._ring.first_frame)
        return {"accepted": len(whole), "kept": len(kept), "refused": refused, "repeated": False}

    def _look_at(self, episodes: Sequence[Any]) -> tuple[list[Incoming], list[dict[str, Any]]]:
        whole, refused = [], []
        for place, sent in enumerate(episodes):
            try:
                whole.append(read_episode(sent, self._columns, self._ring.capacity))
            except RefusedError as error:
                refused.append({"episode": place, "reason": str(error)})
        return whole, refused

    def _reserve(self, added: Added) -> None:
        try:
            self._ring.reserve([episode.length for episode in added.kept])
        except MemoryError as error:
            msg = (
                f"the replay buffer has no memory for {added.frames} more frames beside "
                f"{len(self._ring)}; a smaller capacity would evict older ones"
            )
            raise StorageError(msg) from error

    def _insert(self, kept: Sequence[Incoming]) -> None:
        for episode in kept:
            row = self._ring.append(
                episode.columns, version=episode.version, is_success=episode.is_success
            )
            if self._tree is not None:
                given = episode.priority
                priority = self._largest_priority if given is None else given
                self._largest_priority = max(self._largest_priority, priority)
                weight = float(self._weights(np.array(priority)))
                self._tree.fill(row, episode.length, weight)

    def _forget(self, row: int, length: int) -> None:
        assert self._tree is not None
        self._tree.fill(row, length, 0.0)

    def _weights(self, priorities: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(over="ignore"):
            weights = (priorities + _SMALLEST_PRIORITY) ** self._exponent
        return np.clip(weights, *_WEIGHTS)

    def last_number(self, producer: str) -> int:
        """Return the highest number of a producer, -1 if none: a restarted one goes on there."""
        return self._ledger.last_number(producer)

    def sample(self, size: int, seed: int) -> dict[str, Any]:
        """Draw frames with the windows around them.

        Args:
            size: B.
            seed: Decides which, together with what is in the buffer.

        Returns:
            `windows`: for each key `(B, T, *shape)`, the nearest frame repeated beyond the edges of
            its episode, and `<key>_is_pad`, bool `(B, T)`; without offsets `(B, *shape)` alone.
            `versions`: which weights acted, int64 `(B,)`. `weights`: importance weights, float32
            `(B,)`, ones if sampling is uniform. `rows`: names of the frames for `set_priorities`,
            int64 `(B,)`. Of an empty buffer `windows` is None, and `frames` is 0.
        """
        if not len(self._ring):
            return {"windows": None, "frames": 0}
        random = np.random.default_rng(seed)
        rows, weights = self._draw(size, random)
        return {
            "windows": self._gather(rows),
            "versions": self._ring.versions(rows),
            "weights": weights,
            "rows": self._ring.frames(rows),
        }

    def _draw(
        self, size: int, random: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if self._tree is None:
            places = random.integers(0, len(self._ring), size)
            return self._ring.rows(places), np.ones(size, np.float32)
        rows = self._tree.draw(size, random)
        shares = self._tree.weights(rows) / self._tree.total
        return rows, importance(shares, len(self._ring)).astype(np.float32)

    def _gather(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        edges = self._ring.edges(rows)
        found: dict[str, NDArray[Any]] = {}
        for key, window in self._windows.items():
            column = self._ring.arrays[key]
            if window is None:
                found[key] = column[rows]
            else:
                found[key] = window.gather(column, edges)
                found[f"{key}_is_pad"] = window.is_pad(edges)
        return found

    def set_priorities(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Set the priorities of sampled frames; those that are gone by now are left out.

        Args:
            rows: As `sample` returned them.
            values: Priorities, such as a loss or an error, finite and at least 0.

        Raises:
            UserError: A priority is negative or no number.
        """
        priorities = np.asarray(values, np.float64)
        bad = priorities[~(np.isfinite(priorities) & (priorities >= 0))]
        if len(bad):
            msg = f"a priority is a finite number of at least 0, not {bad[0]}"
            raise UserError(msg)
        if self._tree is None:
            return
        found, is_there = self._ring.find(np.asarray(rows, np.int64))
        self._tree.set(found, self._weights(priorities[is_there]))
        self._largest_priority = max(self._largest_priority, priorities.max(initial=0.0))

    def describe(self) -> dict[str, Any]:
        """Return what is in the buffer and what went through it, as JSON data.

        `lost` names what of its files is no whole record, `disk_error` why the newest add was not
        taken (empty if it was), `refusal` why the newest episode that was refused here was.
        """
        ledger, ring = self._ledger, self._ring
        recent = ledger.recent
        return {
            "episodes": len(ring.episodes),
            "frames": len(ring),
            "capacity": ring.capacity,
            "successes": ledger.successes,
            "failures": ledger.episodes - ledger.successes,
            "refused": ledger.refused,
            "recent_success_rate": sum(recent) / len(recent) if recent else None,
            "frames_added": ledger.kept_frames,
            "episodes_added": ledger.kept_episodes,
            "evicted": ledger.kept_frames - len(ring),
            "memory_bytes": ring.nbytes + (self._tree.nbytes if self._tree else 0),
            "disk_bytes": self._log.disk_bytes,
            "lost": list(self._log.lost),
            "disk_error": self._disk_error,
            "refusal": self._refusal,
            "keys": self._keys,
            "producers": dict(ledger.producers),
            "learner": self._lease.holder(),
        }

    def attach(self, learner: str) -> str:
        """Make a learner the one of this buffer.

        Returns:
            Empty if it is now; else the learner that has the buffer. One that has not called
            `attach` or `touch` for 30 s has it no longer.
        """
        return self._lease.take(learner)

    def touch(self, learner: str) -> str:
        """Stay the learner of this buffer, also of one that has restarted; as `attach`."""
        return self._lease.take(learner)

    def detach(self, learner: str) -> None:
        """Let another learner have the buffer."""
        self._lease.release(learner)


def _require(name: str, given: str, choices: tuple[str, ...]) -> None:
    if given not in choices:
        msg = f"replay buffer: {name} is {' or '.join(choices)}, not {given!r}"
        raise UserError(msg)


def _do_nothing(row: int, length: int) -> None:
    """Uniform sampling has nothing to forget."""
    del row, length
