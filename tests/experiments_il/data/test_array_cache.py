from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from experiments_il.data.array_cache import ArrayCache, ArrayGroup
from trainer_core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


class Builder:
    """Fills an array with 7 and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        self.calls += 1
        arrays["a"][:] = 7
        return {"note": "seven"}


def open_group(
    source: Path, builder: Builder, fingerprint: int = 0, folder: Path | None = None
) -> ArrayGroup:
    source.mkdir(exist_ok=True)
    return ArrayCache(source, fingerprint, folder).open("g", {"a": ("int32", (3,))}, builder)


def index_files(source: Path) -> list[Path]:
    return list((source / ".cache-trainer").glob("*/g/index.json"))


def test_group_is_built_once_and_mapped_after(tmp_path: Path) -> None:
    builder = Builder()
    for _ in range(2):
        group = open_group(tmp_path, builder)
        assert group.arrays["a"].tolist() == [7, 7, 7]
        assert group.extra == {"note": "seven"}
    assert builder.calls == 1
    assert not group.arrays["a"].flags.writeable


def test_new_fingerprint_rebuilds_and_removes_the_old(tmp_path: Path) -> None:
    builder = Builder()
    open_group(tmp_path, builder, fingerprint=0)
    open_group(tmp_path, builder, fingerprint=1)
    assert builder.calls == 2
    assert len(index_files(tmp_path)) == 1


@pytest.mark.parametrize("file", ["000.npy", "index.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x93NUMPY garbage"])
def test_damaged_group_is_built_again(tmp_path: Path, file: str, content: bytes | None) -> None:
    builder = Builder()
    open_group(tmp_path, builder)
    damaged = index_files(tmp_path)[0].with_name(file)
    if content is None:
        damaged.unlink()
    else:
        damaged.write_bytes(content)
    assert open_group(tmp_path, builder).arrays["a"].tolist() == [7, 7, 7]
    assert builder.calls == 2


def test_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ArrayCache(tmp_path, 0).open("g", {"a": ("int32", (3,))}, fail)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not index_files(tmp_path)


def test_read_only_source_uses_the_user_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    builder, source = Builder(), tmp_path / "source"
    source.mkdir()
    (source / ".cache-trainer").write_text("not a folder")
    for _ in range(2):
        group = open_group(source, builder)
    assert builder.calls == 1
    assert group.folder is not None
    assert group.folder.is_relative_to(tmp_path / "user" / "experiments-il")


def test_without_any_folder_the_arrays_stay_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "user").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    (tmp_path / ".cache-trainer").write_text("not a folder")
    group = open_group(tmp_path, Builder())
    assert group.folder is None
    assert pickle.loads(pickle.dumps(group)).arrays["a"].tolist() == [7, 7, 7]


def test_chosen_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"^cache_dir: cannot write .*: Not a directory$"):
        open_group(tmp_path / "source", Builder(), folder=tmp_path / "file")


def test_pickled_group_maps_its_files_again(tmp_path: Path) -> None:
    group = open_group(tmp_path, Builder())
    blob = pickle.dumps(group)
    np.testing.assert_array_equal(pickle.loads(blob).arrays["a"], group.arrays["a"])
    assert b"\x07\x00\x00\x00\x07" not in blob


def _open_slowly(source: Path, answers: Any) -> None:
    def fill(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        time.sleep(0.3)
        arrays["a"][:] = os.getpid()
        return {}

    group = ArrayCache(source, 0).open("g", {"a": ("int32", (3,))}, fill)
    answers.put((os.getpid(), group.arrays["a"].tolist()))


def test_processes_that_open_together_build_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    children = [context.Process(target=_open_slowly, args=(tmp_path, answers)) for _ in range(3)]
    for child in children:
        child.start()
    found = [answers.get(timeout=60) for _ in children]
    for child in children:
        child.join(60)
    builders = {pid for pid, _values in found}
    assert len({tuple(values) for _pid, values in found}) == 1
    assert found[0][1][0] in builders
    assert len(list(index_files(tmp_path)[0].parents[1].iterdir())) == 1


def test_killed_builder_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    def die(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    def build() -> None:
        ArrayCache(tmp_path, 0).open("g", {"a": ("int32", (3,))}, die)

    child = multiprocessing.get_context("fork").Process(target=build)
    child.start()
    child.join(60)
    left = [path.name for path in tmp_path.glob(".cache-trainer/*/*")]
    assert [name[:3] for name in left] == [".g-"]
    assert open_group(tmp_path, Builder()).arrays["a"].tolist() == [7, 7, 7]
    assert [path.name for path in tmp_path.glob(".cache-trainer/*/*")] == ["g"]


def test_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    def fill(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = ArrayCache(tmp_path, 0)
    with pytest.raises(StorageError) as caught:
        cache.open("g", {"a": ("int32", (3,))}, fill, is_large=True)
    pattern = r"cache: no space left for g in .*\.cache-trainer \([\d,]+ MB are free\); choose "
    assert re.match(pattern + "another cache_dir, or cache: low_dim or none", str(caught.value))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert open_group(tmp_path, Builder()).arrays["a"].tolist() == [7, 7, 7]


def test_other_identity_rebuilds_its_group_alone(tmp_path: Path) -> None:
    builder = Builder()
    for identity in ("one", "one", "two"):
        cache = ArrayCache(tmp_path, 0)
        cache.open("kept", {"a": ("int32", (3,))}, builder)
        cache.open("g", {"a": ("int32", (3,))}, builder, identity)
    assert builder.calls == 3
    assert (cache.has("g", "two"), cache.has("g", "one")) == (True, False)


def test_memory_alone_writes_nothing(tmp_path: Path) -> None:
    group = ArrayCache(tmp_path, 0, in_memory=True).open("g", {"a": ("int32", (3,))}, Builder())
    assert group.folder is None
    assert list(tmp_path.iterdir()) == []


def test_files_of_unknown_size_are_mapped(tmp_path: Path) -> None:
    def build(folder: Path) -> tuple[dict[str, str], dict[str, Any]]:
        (folder / "bytes.bin").write_bytes(b"abc")
        return {"bytes": "bytes.bin"}, {"n": 1}

    for _ in range(2):
        group = ArrayCache(tmp_path, 0).open_files("g", build, lambda arrays: "bytes" in arrays)
        assert group.arrays["bytes"].tobytes() == b"abc"
        assert group.extra == {"n": 1}
