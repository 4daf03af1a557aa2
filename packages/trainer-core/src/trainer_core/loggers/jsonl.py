"""`metrics.jsonl`: one JSON object per logged step."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from trainer_core.storage import make_folder, storage_errors, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["JsonlLogger", "read_metrics"]


class JsonlLogger:
    """Writes `{"step": 120, "epoch": 1.5, "samples": 30720, "loss": 0.031, ...}` per line.

    A value that is not finite is null. A resumed run removes what was logged after the step it
    goes on from: those steps are done again.

    Args:
        file: Name of the file in the run folder.
    """

    def __init__(self, file: str = "metrics.jsonl") -> None:
        self.file = file
        self._stream: TextIO | None = None

    def start(self, run: Mapping[str, Any]) -> None:
        """Open the file for appending."""
        path = Path(run["out_dir"]) / self.file
        make_folder(path.parent)
        resumed_step = run.get("resumed_step") or 0
        if path.exists():
            kept = [record for record in read_metrics(path) if record["step"] <= resumed_step]
            write_atomically(path, "".join(_to_line(record) for record in kept))
        with storage_errors(path):
            self._stream = path.open("a", encoding="utf-8")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Append a line; it is in the file when this returns."""
        if self._stream is not None:
            self._stream.write(_to_line({"step": step, **metrics}))
            self._stream.flush()

    def finish(self, status: str) -> None:
        """Close the file."""
        del status
        if self._stream is not None:
            self._stream.close()
            self._stream = None


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
