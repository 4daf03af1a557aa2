"""What a diffusion_policy zarr store holds, from its JSON metadata alone; imports no zarr.

Source: diffusion_policy 5ba07ac; the zarr specifications, versions 2 and 3.
"""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments_il.data.batch_shapes import describe_features, report_missing
from experiments_il.data.lerobot_format import DEFAULT_FEATURES
from experiments_il.data.near_paths import missing_data_hint
from experiments_il.data.stored_columns import StoredArray, StoredColumn, is_image, named_columns
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from trainer_core.protocols import BatchReport, BatchShapes

__all__ = ["ZarrLayout", "describe", "read_layout", "zarr_columns"]

_DATA = "data/"
_LARGEST_DOCUMENT = 2**24
ENDS = "meta/episode_ends"
_KINDS = {"f": "float", "i": "int", "u": "uint"}


@dataclass(frozen=True, slots=True)
class ZarrLayout:
    """The arrays of a store.

    Attributes:
        arrays: What `data/<key>` holds per frame, by key.
        lengths: Frames of each.
        prefix: Folder inside a zip file that the store is in; often ''.
    """

    arrays: dict[str, StoredArray]
    lengths: dict[str, int]
    prefix: str


def read_layout(path: Path) -> ZarrLayout:
    """Read the metadata of every array of a store: a folder, or a zip file of one.

    Raises:
        DatasetError: It is not there, or not a store of episodes.
    """
    if not path.exists():
        message = f"{path}: no such folder or file{missing_data_hint(path)}"
        raise DatasetError(message)
    try:
        found = list(_folder_documents(path) if path.is_dir() else _zip_documents(path))
    except (OSError, ValueError, RecursionError, RuntimeError, zipfile.BadZipFile) as exc:
        message = f"{path}: cannot be read as a zarr store: {exc}"
        raise DatasetError(message) from exc
    for name, document in found:
        _refuse_programs(path, name, document)
    documents = dict(found)
    ends = min((name for name in documents if f"/{name}".endswith(f"/{ENDS}")), key=len, default="")
    if not ends:
        message = f"{path}: has no {ENDS}: not a zarr store of episodes as diffusion_policy writes"
        raise DatasetError(message)
    prefix = ends.removesuffix(ENDS)
    arrays: dict[str, StoredArray] = {}
    lengths: dict[str, int] = {}
    for name, document in documents.items():
        if not name.startswith(f"{prefix}{_DATA}"):
            continue
        key = name.removeprefix(f"{prefix}{_DATA}")
        shape = _shape(path, key, document)
        if not shape or "/" in key:
            continue
        arrays[key] = StoredArray(_dtype(path, key, document), tuple(shape[1:]))
        lengths[key] = shape[0]
    if "action" not in arrays:
        message = f"{path}: has no data/action"
        raise DatasetError(message)
    uneven = {key: length for key, length in lengths.items() if length != lengths["action"]}
    if uneven:
        key, length = next(iter(uneven.items()))
        message = f"{path}: data/{key} has {length} frames, data/action {lengths['action']}"
        raise DatasetError(message)
    return ZarrLayout(arrays, lengths, prefix)


def zarr_columns(path: Path, layout: ZarrLayout, state: Sequence[str]) -> dict[str, StoredColumn]:
    """Return the columns: `action`, `observation.state`, `observation.images.<key>`, ..."""
    arrays = {f"{_DATA}{key}": array for key, array in sorted(layout.arrays.items())}
    return named_columns(path, arrays, _column, state)


def _column(key: str, array: StoredArray) -> StoredColumn:
    short = key.removeprefix(_DATA)
    if short == "action" or short.startswith("next."):
        return StoredColumn.of(short, key, array)
    place = "observation.images" if is_image(array) else "observation"
    return StoredColumn.of(f"{place}.{short}", key, array)


def describe(parameters: Mapping[str, Any], report: BatchReport) -> BatchShapes | None:
    """Return the shape of each key of the batches of `zarr_replay`; None without a store."""
    path = Path(str(parameters.get("path", ""))).expanduser()
    if report_missing("path", path, report):
        return None
    try:
        columns = zarr_columns(path, read_layout(path), parameters.get("state") or ())
    except DatasetError as error:
        report(("path",), str(error))
        return None
    features = {name: column.feature for name, column in columns.items()}
    features |= {feature.name: feature for feature in DEFAULT_FEATURES}
    return describe_features(features, parameters, report)


def _folder_documents(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in (".zarray", "zarr.json"):
        for group in ("data", "meta"):
            for file in (path / group).glob(f"*/{name}"):
                if file.is_file():
                    yield f"{group}/{file.parent.name}", json.loads(file.read_bytes())


def _zip_documents(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with zipfile.ZipFile(path) as file:
        for entry in file.infolist():
            folder, _, last = entry.filename.rpartition("/")
            if last in {".zarray", "zarr.json"}:
                if entry.file_size > _LARGEST_DOCUMENT:
                    message = f"'{entry.filename}' unpacks to {entry.file_size} bytes"
                    raise ValueError(message)
                yield folder, json.loads(file.read(entry))


def _refuse_programs(path: Path, name: str, document: Any) -> None:
    """Refuse what is no metadata, and arrays of pickles, which are programs when they are read."""
    if not isinstance(document, dict):
        message = f"{path}: the metadata of {name} are no mapping"
        raise DatasetError(message)
    filters, codecs = document.get("filters"), document.get("codecs")
    for codec in (document.get("compressor"), *_listed(filters), *_listed(codecs)):
        if "pickle" in json.dumps(codec).lower():
            message = f"{path}: {name} holds pickled objects, which are not read: expected numbers"
            raise DatasetError(message)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _shape(path: Path, key: str, document: Mapping[str, Any]) -> list[int]:
    """Return the shape of an array; empty for what is none."""
    shape = document.get("shape")
    if not isinstance(shape, list):
        return []
    if not all(type(size) is int and size >= 0 for size in shape):
        message = f"{path}: data/{key} has shape {shape}, expected integers"
        raise DatasetError(message)
    return shape


def _dtype(path: Path, key: str, document: Mapping[str, Any]) -> str:
    """Return the numpy name of a dtype: '<f4' in version 2, 'float32' in version 3."""
    stored = document.get("data_type", document.get("dtype"))
    text = str(stored)
    match = re.fullmatch(r"[<>|]([fiu])(\d+)", text)
    if match:
        return f"{_KINDS[match[1]]}{8 * int(match[2])}"
    if text == "|b1":
        return "bool"
    if re.fullmatch(r"bool|u?int(8|16|32|64)|float(16|32|64)", text):
        return text
    message = f"{path}: data/{key} holds {text}, expected numbers"
    raise DatasetError(message)
