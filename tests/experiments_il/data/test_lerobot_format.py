from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from experiments_il.data.lerobot_format import (
    DATA_PATH,
    Feature,
    Place,
    format_path,
    parse_feature,
    parse_info,
    read_info,
)
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

SCALARS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


def document(**changes: Any) -> dict[str, Any]:
    return {
        "codebase_version": "v3.0",
        "fps": 20,
        "total_episodes": 2,
        "total_frames": 9,
        "features": {name: {"dtype": "int64", "shape": [1]} for name in SCALARS},
        **changes,
    }


def test_unknown_keys_and_float_numbers_are_accepted() -> None:
    info = parse_info(document(fps=29.97, tools=[], data_files_size_in_mb=0.01))
    assert (info.fps, info.total_frames, info.data_path) == (29.97, 9, DATA_PATH)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"codebase_version": "v4.0"},
            "'codebase_version' is 'v4.0'; this reader reads v3.0, v2.1 and v2.0",
        ),
        (
            {"codebase_version": "v1.6"},
            "'codebase_version' is 'v1.6'; this reader reads v3.0, v2.1 and v2.0",
        ),
        (
            {"codebase_version": None},
            "'codebase_version' is None; this reader reads v3.0, v2.1 and v2.0",
        ),
        ({"fps": 0}, "'fps' must be a number above 0, found 0"),
        ({"fps": "20"}, "'fps' must be a number above 0, found '20'"),
        ({"total_frames": -1}, "'total_frames' must be an integer above 0, found -1"),
        ({"total_episodes": True}, "'total_episodes' must be an integer above 0, found True"),
        ({"features": []}, "'features' must be a mapping of names to dtype and shape"),
        ({"data_path": 3}, "'data_path' must be a path template, found 3"),
        (
            {"features": {"index": {"dtype": "int64", "shape": [1]}}},
            "'features' lacks 'timestamp', 'frame_index', 'episode_index', 'task_index'",
        ),
    ],
)
def test_wrong_info_says_what_was_expected(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        parse_info(document(**changes))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("a/b", {}, "feature name 'a/b' must not be empty or hold a '/'"),
        ("a", 3, "feature 'a' has dtype None, which this reader does not know"),
        (
            "a",
            {"dtype": "object"},
            "feature 'a' has dtype 'object', which this reader does not know",
        ),
        (
            "a",
            {"dtype": "bool", "shape": [0]},
            "feature 'a' has shape [0]; expected a list of integers above 0",
        ),
        (
            "a",
            {"dtype": "image", "shape": [4, 4]},
            "camera 'a' has shape [4, 4]; expected [height, width, channels]",
        ),
    ],
)
def test_wrong_feature_is_named(name: str, spec: Any, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        parse_feature(name, spec)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("/etc/{chunk_index}", "leads out of the data set: '/etc/7'"),
        ("../{chunk_index}", "leads out of the data set: '../7'"),
        ("a\\{chunk_index}", "leads out of the data set: 'a\\\\7'"),
        ("{chunk_index.real}", "uses the unknown field 'chunk_index.real'"),
        ("{0}", "uses the unknown field '0'"),
        ("{secret}", "uses the unknown field 'secret'"),
        ("{chunk_index!r}", "formats 'chunk_index' in an unknown way"),
        ("{chunk_index:>999999999d}", "formats 'chunk_index' in an unknown way"),
        ("{chunk_index", "is malformed: expected '}' before end of string"),
    ],
)
def test_hostile_path_template_is_refused(template: str, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        format_path(template, chunk_index=7)
    assert str(caught.value) == f"path template {template!r} {message}"


def test_camera_key_cannot_leave_the_folder() -> None:
    with pytest.raises(DatasetError, match="leads out of the data set"):
        format_path("videos/{video_key}/x.mp4", video_key="..")


def test_standard_template_is_filled_in() -> None:
    path = format_path(DATA_PATH, chunk_index=1, file_index=12)
    assert path == "data/chunk-001/file-012.parquet"


@pytest.mark.parametrize(
    ("feature", "shape"),
    [
        (Feature("a", "float32", (1,)), ()),
        (Feature("a", "float32", (3, 2)), (3, 2)),
        (Feature("a", "image", (4, 5, 3)), (3, 4, 5)),
        (Feature("a", "image", (3, 4, 5), ["channels", "height", "width"]), (3, 4, 5)),
    ],
)
def test_batch_shape_follows_the_declared_shape(feature: Feature, shape: tuple[int, ...]) -> None:
    assert feature.item_shape == shape


def test_after_the_last_file_of_a_chunk_comes_the_next_chunk() -> None:
    assert Place(0, 999).next(1000) == Place(1, 0)
    assert Place(0, -1).next(1000) == Place(0, 0)


def test_missing_folder_and_missing_info_differ(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as missing:
        read_info(tmp_path / "no")
    with pytest.raises(DatasetError) as empty:
        read_info(tmp_path)
    assert str(missing.value) == (
        f"{tmp_path}/no: no such folder; a LeRobotDataset was expected there; '{tmp_path}' holds "
        "nothing"
    )
    assert str(empty.value) == (
        f"{tmp_path}/meta/info.json: missing; "
        "this folder is not a LeRobotDataset, or its recording never ended"
    )


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"codebase_version": "v3.0"}', "[" * 9999])
def test_broken_info_names_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text(text)
    with pytest.raises(DatasetError, match=r"/meta/info\.json: "):
        read_info(tmp_path)
