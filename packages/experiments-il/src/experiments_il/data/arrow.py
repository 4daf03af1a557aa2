"""pyarrow, an optional package: imported here once, or the line that installs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments_il.data.optional_packages import import_optional
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["pa", "pc", "pq", "read_row_group", "read_table", "row_group_sizes"]


def _import(module: str) -> Any:
    return import_optional(module, "reading and writing LeRobot data sets", "lerobot")


pa = _import("pyarrow")
pc = _import("pyarrow.compute")
pq = _import("pyarrow.parquet")

_FOOTER = b"PAR1"


def read_table(path: Path, columns: Sequence[str] | None = None) -> Any:
    """Return a parquet file as a `pyarrow.Table`.

    Args:
        path: The file.
        columns: Top-level columns to read; all of them if None. A name that the file lacks is
            left out, for the caller to miss in its own words.

    Raises:
        DatasetError: The file is missing, was never finalised, or is not parquet.
    """
    _require_footer(path)
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                message = f"{path}: column '{twice[0]}' is there twice"
                raise DatasetError(message)
            if columns is not None:
                columns = [name for name in columns if name in names]
            return file.read(columns=columns)
    except (pa.ArrowException, OSError) as exc:
        message = f"{path}: cannot be read as parquet: {exc}"
        raise DatasetError(message) from exc


def row_group_sizes(path: Path) -> list[int]:
    """Return the rows of each row group of a parquet file.

    Raises:
        DatasetError: The file is missing, was never finalised, or is not parquet.
    """
    _require_footer(path)
    try:
        with pq.ParquetFile(path) as file:
            groups = range(file.metadata.num_row_groups)
            return [file.metadata.row_group(number).num_rows for number in groups]
    except (pa.ArrowException, OSError) as exc:
        message = f"{path}: cannot be read as parquet: {exc}"
        raise DatasetError(message) from exc


def read_row_group(path: Path, number: int, column: str) -> Any:
    """Return one column of one row group as a `pyarrow.Table`.

    Raises:
        DatasetError: It cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            return file.read_row_group(number, columns=[column])
    except (pa.ArrowException, OSError) as exc:
        message = f"{path}: cannot be read as parquet: {exc}"
        raise DatasetError(message) from exc


def _require_footer(path: Path) -> None:
    if path.exists() and not path.is_file():  # a pipe or a device would be read without end
        message = f"{path}: is no regular file"
        raise DatasetError(message)
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - len(_FOOTER)))
            footer = file.read()
    except FileNotFoundError as exc:
        message = f"{path}: missing; the data set's metadata names this file"
        raise DatasetError(message) from exc
    except OSError as exc:
        message = f"{path}: cannot be read: {exc.strerror}"
        raise DatasetError(message) from exc
    if footer != _FOOTER:
        message = f"{path}: no parquet footer: the recording was not finalised"
        raise DatasetError(message)
