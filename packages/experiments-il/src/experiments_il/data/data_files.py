"""Data files of a data set being written: one row group per episode; rolled over by size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from experiments_il.data.arrow import pa, pq

if TYPE_CHECKING:
    from pathlib import Path

    from experiments_il.data.lerobot_format import Place

__all__ = ["DataFileWriter", "StagedFile"]

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that waits for its name."""

    path: Path
    place: Place


@final
class DataFileWriter:
    """Writes episodes to parquet files in a staging folder.

    Args:
        staging: The folder.
        schema: Arrow schema of the files.
        last: Place of the data set's last data file; new files come after it.
        chunks_size: Files per chunk.
        max_mb: Size in MiB that a file should not reach.
    """

    def __init__(
        self, staging: Path, schema: Any, last: Place, chunks_size: int, max_mb: float
    ) -> None:
        self.staged: list[StagedFile] = []
        self._staging = staging
        self._schema = schema
        self._place = last
        self._chunks_size = chunks_size
        self._max_bytes = max_mb * _MIB
        self._sink: Any = None
        self._parquet: Any = None
        self._rows = 0

    def write(self, table: Any) -> Place:
        """Write one episode and return the place of its file."""
        if self._parquet is not None:
            size = self._sink.tell()
            if size + size / self._rows * table.num_rows >= self._max_bytes:
                self.finish()
        if self._parquet is None:
            self._begin()
        self._parquet.write_table(table)
        self._rows += table.num_rows
        return self._place

    def finish(self) -> None:
        """Write the footer of the file that is open, if one is."""
        if self._parquet is None:
            return
        self._parquet.close()
        self._sink.close()
        self._parquet = self._sink = None

    def _begin(self) -> None:
        self._place = self._place.next(self._chunks_size)
        path = self._staging / f"data-{len(self.staged)}.parquet"
        self.staged.append(StagedFile(path, self._place))
        self._sink = pa.OSFile(str(path), "wb")
        self._parquet = pq.ParquetWriter(self._sink, self._schema, compression="snappy")
        self._rows = 0
