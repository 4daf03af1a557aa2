"""The words of LeRobotDataset v3.0 and v2: `info.json`, features, templates. All untrusted."""

from __future__ import annotations

import difflib
import json
import math
import re
import string
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from experiments_il.data.depth import DepthRange, read_depth_range
from experiments_il.data.near_paths import missing_data_hint
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "DATA_PATH",
    "DEFAULT_FEATURES",
    "EPISODES_PATH",
    "INFO_PATH",
    "MOST_ROWS",
    "MOST_VALUES",
    "NUMERIC_DTYPES",
    "STATS_PATH",
    "TASKS_PATH",
    "VERSION",
    "VIDEO_PATH",
    "Feature",
    "LeRobotInfo",
    "Place",
    "format_path",
    "nearest_hint",
    "parse_feature",
    "parse_info",
    "read_info",
    "read_json",
]

VERSION = "v3.0"
INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_V2_DATA_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"

NUMERIC_DTYPES = frozenset(
    {"bool", "float16", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)
_OTHER_DTYPES = frozenset({"string", "image", "video"})
_INTEGER_FORMAT = re.compile(r"(0?[1-9])?d?")
# Far beyond any data set, and small enough that sizes in bytes stay below 2^63.
MOST_ROWS = 2**31
MOST_VALUES = 2**28
_MOST_FPS = 1e6
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of a data set.

    Attributes:
        name: Such as `observation.state`.
        dtype: A numpy name, `string`, `image` or `video`.
        shape: As declared: `(1,)` for a scalar; images `(height, width, channels)`.
        names: Names of the dimensions, as declared.
        depth: What the codes of a depth video stand for; None for all else.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    names: Any = None
    depth: DepthRange | None = None

    @property
    def is_numeric(self) -> bool:
        """Return whether the values are numbers or booleans in the data files."""
        return self.dtype in NUMERIC_DTYPES

    @property
    def is_frame(self) -> bool:
        """Return whether the values are camera frames."""
        return self.dtype in {"image", "video"}

    @property
    def stored_dtype(self) -> str:
        """Return the numpy name of the values: `uint8` for frames, `float32` for depth."""
        if not self.is_frame:
            return self.dtype
        return "uint8" if self.depth is None else "float32"

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Return the shape of one frame's value in a batch: `()` for scalars, images (C, H, W)."""
        if not self.is_frame:
            return () if self.shape == (1,) else self.shape
        if self.is_channel_first:
            return self.shape
        height, width, channels = self.shape
        return channels, height, width

    @property
    def is_channel_first(self) -> bool:
        """Return whether an image is declared (C, H, W), as some older sets do."""
        names = self.names
        if not isinstance(names, list | tuple | dict) or not names:
            return False
        return str(next(iter(names))).startswith("channel")


DEFAULT_FEATURES: tuple[Feature, ...] = (
    Feature("timestamp", "float32", (1,)),
    Feature("frame_index", "int64", (1,)),
    Feature("episode_index", "int64", (1,)),
    Feature("index", "int64", (1,)),
    Feature("task_index", "int64", (1,)),
)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """The numbers of a file. Files are counted from 0 in each chunk."""

    chunk: int
    file: int

    def next(self, chunks_size: int) -> Place:
        """Return the place of the file after this one."""
        if self.file + 1 < chunks_size:
            return Place(self.chunk, self.file + 1)
        return Place(self.chunk + 1, 0)


@dataclass(frozen=True, slots=True)
class LeRobotInfo:
    """The checked content of `meta/info.json`.

    Attributes:
        major: 3, or 2 for the older layout with one file per episode.
        fps: Frames per second, above 0.
        features: Columns by name, in the order of the file.
        total_episodes: Episodes that are complete; what lies beyond is an unfinished append.
        total_frames: Rows of those episodes.
        data_path: Template of the data files.
        video_path: Template of the video files; None without videos.
        raw: The whole document.
    """

    major: int
    fps: float
    features: dict[str, Feature]
    total_episodes: int
    total_frames: int
    data_path: str
    video_path: str | None
    raw: dict[str, Any]


def read_json(path: Path) -> Any:
    """Return a JSON document, or raise `DatasetError` naming the file."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as exc:
        message = f"{path}: missing"
        raise DatasetError(message) from exc
    except (OSError, ValueError, RecursionError) as exc:
        message = f"{path}: cannot be read as JSON: {exc}"
        raise DatasetError(message) from exc


def read_info(root: Path) -> LeRobotInfo:
    """Read and check `meta/info.json` under `root`.

    Raises:
        DatasetError: The folder or the file is missing, or its content is not that of a data set.
    """
    if not root.is_dir():
        message = (
            f"{root}: no such folder; a LeRobotDataset was expected there{missing_data_hint(root)}"
        )
        raise DatasetError(message)
    path = root / INFO_PATH
    if not path.is_file():
        message = (
            f"{path}: missing; this folder is not a LeRobotDataset, or its recording never ended"
        )
        raise DatasetError(message)
    document = read_json(path)
    if not isinstance(document, dict):
        message = f"{path}: expected a mapping, found {type(document).__name__}"
        raise DatasetError(message)
    try:
        return parse_info(document)
    except DatasetError as exc:
        message = f"{path}: {exc}"
        raise DatasetError(message) from exc


def parse_info(document: Mapping[str, Any]) -> LeRobotInfo:
    """Check the content of an `info.json`; messages carry no file name."""
    major = _read_major(document.get("codebase_version"))
    features = document.get("features")
    if not isinstance(features, dict) or not features:
        message = "'features' must be a mapping of names to dtype and shape"
        raise DatasetError(message)
    parsed = {name: parse_feature(name, spec) for name, spec in features.items()}
    _require_defaults(parsed)
    video_path = document.get("video_path")
    places = ("episode_chunk", "episode_index") if major == 2 else ("chunk_index", "file_index")
    if any(feature.dtype == "video" for feature in parsed.values()):
        video_path = _require_template(video_path, "video_path", places, video_key="x")
    data_path = document.get("data_path", DATA_PATH if major == 3 else _V2_DATA_PATH)
    return LeRobotInfo(
        major=major,
        fps=_require_fps(document.get("fps")),
        features=parsed,
        total_episodes=_require_count(document, "total_episodes"),
        total_frames=_require_count(document, "total_frames"),
        data_path=_require_template(data_path, "data_path", places),
        video_path=video_path,
        raw=dict(document),
    )


def parse_feature(name: str, spec: Any) -> Feature:
    """Return the feature that an entry of `features` declares.

    Raises:
        DatasetError: The name holds a `/`, or dtype or shape is not one of the format's.
    """
    if not name or "/" in name:
        message = f"feature name {name!r} must not be empty or hold a '/'"
        raise DatasetError(message)
    dtype = spec.get("dtype") if isinstance(spec, dict) else None
    if not isinstance(dtype, str) or dtype not in NUMERIC_DTYPES | _OTHER_DTYPES:
        message = f"feature '{name}' has dtype {dtype!r}, which this reader does not know"
        raise DatasetError(message)
    shape = spec.get("shape")
    if (
        not isinstance(shape, list | tuple)
        or not shape
        or not all(type(size) is int and size > 0 for size in shape)
    ):
        message = f"feature '{name}' has shape {shape!r}; expected a list of integers above 0"
        raise DatasetError(message)
    if math.prod(shape) > MOST_VALUES:
        message = f"feature '{name}' has shape {shape!r}, more than {MOST_VALUES} values per frame"
        raise DatasetError(message)
    if dtype in {"image", "video"} and len(shape) != 3:
        message = f"camera '{name}' has shape {shape!r}; expected [height, width, channels]"
        raise DatasetError(message)
    depth = read_depth_range(name, spec.get("info")) if dtype == "video" else None
    feature = Feature(name, str(dtype), tuple(shape), spec.get("names"), depth)
    if depth is not None and feature.item_shape[0] != 1:
        message = f"camera '{name}' records depth in {feature.item_shape[0]} channels, expected 1"
        raise DatasetError(message)
    return feature


def format_path(template: str, **fields: int | str) -> str:
    """Return a path template filled in, safely: it was written by whoever made the data set.

    Raises:
        DatasetError: The template uses another field than those given, reaches into a value
            (`{x.y}`), or the result leaves the data set's folder.
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as exc:
        message = f"path template {template!r} is malformed: {exc}"
        raise DatasetError(message) from exc
    for _text, name, spec, conversion in parts:
        if name is None:
            continue
        if name not in fields:
            message = f"path template {template!r} uses the unknown field {name!r}"
            raise DatasetError(message)
        is_plain = _INTEGER_FORMAT.fullmatch(spec or "") and isinstance(fields[name], int)
        if conversion or (spec and not is_plain):
            message = f"path template {template!r} formats {name!r} in an unknown way"
            raise DatasetError(message)
    path = template.format(**fields)
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path or "\0" in path:
        message = f"path template {template!r} leads out of the data set: {path!r}"
        raise DatasetError(message)
    if any(len(part.encode()) > _LONGEST_NAME for part in pure.parts):
        message = f"path template {template[:40]!r}... makes names that no file can have"
        raise DatasetError(message)
    return path


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or the list of what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; it has {', '.join(names)}"


def _read_major(version: Any) -> int:
    match = re.fullmatch(r"v?(?:(3)\.\d+|(2)\.[01])(\.\d+)?", str(version))
    if match is None or not isinstance(version, str):
        message = f"'codebase_version' is {version!r}; this reader reads v3.0, v2.1 and v2.0"
        raise DatasetError(message)
    return int(match[1] or match[2])


def _require_defaults(features: Mapping[str, Feature]) -> None:
    """Check that LeRobot's own columns are there, as the numbers that rows are found by."""
    missing = [feature.name for feature in DEFAULT_FEATURES if feature.name not in features]
    if missing:
        message = f"'features' lacks {', '.join(repr(name) for name in missing)}"
        raise DatasetError(message)
    for default in DEFAULT_FEATURES:
        found = features[default.name]
        kinds = ("int", "uint") if default.dtype == "int64" else ("int", "uint", "float")
        if not found.dtype.startswith(kinds) or found.shape != (1,):
            message = (
                f"feature '{default.name}' is {found.dtype} {list(found.shape)}, "
                f"expected {default.dtype} [1]"
            )
            raise DatasetError(message)


def _require_fps(fps: Any) -> float:
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < float("inf"):
        message = f"'fps' must be a number above 0, found {fps!r}"
        raise DatasetError(message)
    if not 1 / _MOST_FPS <= fps <= _MOST_FPS:
        message = f"'fps' is {float(min(fps, 1e300)):.4g}: no camera and no robot has that rate"
        raise DatasetError(message)
    return float(fps)


def _require_count(document: Mapping[str, Any], key: str) -> int:
    count = document.get(key)
    if type(count) is not int or count < 1:
        message = f"'{key}' must be an integer above 0, found {count!r}"
        raise DatasetError(message)
    if count > MOST_ROWS:
        message = f"'{key}' is more than {MOST_ROWS}: info.json is damaged"
        raise DatasetError(message)
    return count


def _require_template(template: Any, key: str, places: tuple[str, str], **fields: int | str) -> str:
    if not isinstance(template, str) or not template:
        message = f"'{key}' must be a path template, found {template!r}"
        raise DatasetError(message)
    format_path(template, **dict.fromkeys(places, 0), **fields)
    return template
