"""`metrics.jsonl`: one JSON object per logged step."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer_core.storage import make_folder, storage_errors, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import FileIO

__all__ = ["JsonlLogger", "read_metrics"]

_log = logging.getLogger(__name__)


class JsonlLogger:
    """Writes `{"step": 120, "epoch": 1.5, "samples": 30720, "loss": 0.031, ...}` per line.

    A value that is not finite is null. A resumed run removes what was logged after the step it
    goes on from: those steps are done again. Lines that a full disk refuses are kept, and written
    before the next one; a file that is removed while the run goes on is written again.

    Args:
        file: Name of the file in the run folder.
    """

    def __init__(self, file: str = "metrics.jsonl") -> None:
        self.file = file
        self._stream: FileIO | None = None
        self._waiting: list[bytes] = []

    def start(self, run: Mapping[str, Any]) -> None:
        """Open the file for appending."""
        path = Path(run["out_dir"]) / self.file
        make_folder(path.parent)
        resumed_step = run.get("resumed_step") or 0
        if path.exists():
            kept = [record for record in read_metrics(path) if record["step"] <= resumed_step]
            write_atomically(path, "".join(_to_line(record) for record in kept))
        with storage_errors(path):
            self._stream = path.open("a+b", buffering=0)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Append a line; it is in the file when this returns, unless the disk is full."""
        if self._stream is None:
            return
        self._waiting.append(_to_line({"step": step, **metrics}).encode())
        try:
            self._stream = _at_its_place(self._stream)
            while self._waiting:
                _append(self._stream, self._waiting[0])
                del self._waiting[0]
        except OSError as exc:
            if len(self._waiting) == 1:
                _log.warning("%s waits for the disk: %s", self._stream.name, exc.strerror)

    def finish(self, status: str) -> None:
        """Close the file."""
        del status
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _at_its_place(stream: FileIO) -> FileIO:
    """Return the file, or a copy at its place if it was removed or moved away."""
    path = Path(stream.name)
    with suppress(FileNotFoundError):
        if os.path.samestat(path.stat(), os.fstat(stream.fileno())):
            return stream
    path.parent.mkdir(parents=True, exist_ok=True)
    stream.seek(0)
    text = stream.read()
    copy = path.open("a+b", buffering=0)
    copy.write(text)
    stream.close()
    return copy


def _append(stream: FileIO, line: bytes) -> None:
    """Append a line wholly or not at all."""
    size = stream.seek(0, os.SEEK_END)
    if stream.write(line) != len(line):
        stream.truncate(size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the records of a `metrics.jsonl`; a half-written last line is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    return records


def _to_line(record: Mapping[str, Any]) -> str:
    safe = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }
    return json.dumps(safe, allow_nan=False) + "\n"
