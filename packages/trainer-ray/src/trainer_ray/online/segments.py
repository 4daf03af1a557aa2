"""Append-only segments of the replay buffer on the disk; what is appended is there to stay.

<folder>/
  lock                       held while a process uses the folder
  segment-000000001.replay   a ledger (what was known when it was begun), then one record per add

A segment is begun when the one before is full, and is deleted when all its episodes are evicted.
After a restart appending goes on in a new one, so that what was damaged stays as it is.
"""

from __future__ import annotations

import os
import re
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from trainer_core.storage import flush_to_disk, make_folder, storage_errors
from trainer_ray.online.record import (
    EPISODES,
    HEADER_BYTES,
    LEDGER,
    Cut,
    encode,
    read_records,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Recovered", "SegmentLog"]

SEGMENT_BYTES = 64 * 1024 * 1024
_NAME = re.compile(r"segment-(\d{9,})\.replay")


class Recovered(NamedTuple):
    """A record that an earlier process wrote.

    Attributes:
        segment: Number of its segment.
        is_ledger: Whether it is what was known when the segment was begun.
        payload: What was appended.
    """

    segment: int
    is_ledger: bool
    payload: memoryview


class _Segment:
    """A file of the log, and up to which frame its episodes go."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.path = folder / f"segment-{number:09d}.replay"
        self.end_frame = 0
        self.size = 0
        self.is_damaged = False


class SegmentLog:
    """The segments of a folder: read once, then appended to.

    Attributes:
        lost: What of the segments is no whole record.
        next_number: Number of the next segment. It grows before anything is appended after a start.

    Args:
        folder: Is made if it is not there. One process at a time: see `hold_folder`.
        segment_bytes: A segment that has so many bytes is followed by another.

    Raises:
        StorageError: The folder cannot be made.
    """

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = make_folder(folder)
        self.lost: list[str] = []
        self._segment_bytes = segment_bytes
        self._descriptor: int | None = None
        matches = [_NAME.fullmatch(entry.name) for entry in folder.iterdir()]
        numbers = sorted(int(match[1]) for match in matches if match)
        self._segments = deque(_Segment(folder, number) for number in numbers)
        self.next_number = max(numbers, default=0) + 1

    @property
    def disk_bytes(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self._segments)

    def recover(self) -> Iterator[Recovered]:
        """Yield every whole record, oldest first; cut off a last one that has no end.

        What else is no whole record stays where it is and is named in `lost`.

        Raises:
            UserError: A record was written by a newer version.
            StorageError: A segment cannot be read or cut.
        """
        for segment in list(self._segments):
            with storage_errors(segment.path):
                data = memoryview(segment.path.read_bytes())
            segment.size = len(data)
            for part in read_records(data, segment.number):
                if isinstance(part, Cut):
                    self._note(segment, part)
                else:
                    yield Recovered(segment.number, part.kind == LEDGER, part.payload)

    def _note(self, segment: _Segment, cut: Cut) -> None:
        if cut.is_unfinished and segment is self._segments[-1]:
            _cut_off(segment.path, cut.offset)
            segment.size = cut.offset
            return
        segment.is_damaged = True
        size = cut.end - cut.offset
        self.lost.append(
            f"{segment.path.name}: {size} bytes from byte {cut.offset} on are no whole record"
        )

    def extend_to(self, number: int, end_frame: int) -> None:
        """Note that a segment has episodes up to a frame, exclusive."""
        for segment in self._segments:
            if segment.number == number:
                segment.end_frame = end_frame

    def keep_damaged(self, end_frame: int) -> None:
        """Keep damaged segments until all that is there now is evicted."""
        for segment in self._segments:
            if segment.is_damaged:
                segment.end_frame = end_frame

    def append(self, payload: bytes, end_frame: int, ledger: Callable[[], bytes]) -> None:
        """Write a record and wait until it is on the disk.

        Args:
            payload: What it holds.
            end_frame: Number of the frame after its last one.
            ledger: Returns what is known before this record, for the head of a new segment.

        Raises:
            StorageError: The disk refuses; earlier records are whole, and this one is not there.
        """
        if self._descriptor is not None and self._segments[-1].size >= self._segment_bytes:
            self.close()
        if self._descriptor is None:
            self._begin(ledger())
        segment = self._segments[-1]
        with storage_errors(segment.path):
            self._write(segment, EPISODES, payload)
        segment.end_frame = end_frame

    def _begin(self, ledger: bytes) -> None:
        segment = _Segment(self.folder, self.next_number)
        self.next_number += 1  # also where it fails: what cannot be deleted must not be met again
        with storage_errors(segment.path):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(segment.path, flags, 0o644)
            try:
                self._write(segment, LEDGER, ledger)
                flush_to_disk(self.folder)
            except BaseException:
                self.close()
                segment.path.unlink()
                raise
        if self._segments:
            segment.end_frame = self._segments[-1].end_frame
        self._segments.append(segment)

    def _write(self, segment: _Segment, kind: int, payload: bytes) -> None:
        assert self._descriptor is not None
        header = encode(kind, segment.number, segment.size, payload)
        try:
            _write_at(self._descriptor, header, segment.size)
            _write_at(self._descriptor, payload, segment.size + HEADER_BYTES)
            os.fdatasync(self._descriptor)
        except OSError:
            self._take_back(segment)
            raise
        segment.size += HEADER_BYTES + len(payload)

    def _take_back(self, segment: _Segment) -> None:
        """Remove what was half written; where that fails too, the next append begins a segment."""
        assert self._descriptor is not None
        try:
            os.ftruncate(self._descriptor, segment.size)
            os.fdatasync(self._descriptor)
        except OSError:
            self.close()

    def drop(self, first_frame: int) -> None:
        """Delete the segments that have nothing from a frame on, save the last one."""
        while len(self._segments) > 1 and self._segments[0].end_frame <= first_frame:
            with suppress(OSError):  # it is tried again after the next add
                self._segments[0].path.unlink(missing_ok=True)
                flush_to_disk(self.folder)
                self._segments.popleft()
                continue
            return

    def close(self) -> None:
        """Let go of the file; the next append begins a segment."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of it: the system may take less at a time."""
    rest = memoryview(data)
    while rest:
        count = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[count:], offset + count


def _cut_off(path: Path, size: int) -> None:
    """Shorten a file for good."""
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, size)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
