"""Which cache is chosen for a camera, said in words before it is built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments_il.data import frame_plan
from experiments_il.data.frame_plan import CachePlan, CameraFacts, CameraPlan, choose
from trainer_core.errors import StorageError

GB = 10**9


def camera(**changes: Any) -> CameraFacts:
    known: dict[str, Any] = {
        "name": "top",
        "is_video": True,
        "can_decode": True,
        "can_jpeg": True,
        "array_bytes": GB,
        "jpeg_bytes": GB // 8,
        "read_s": 60.0,
        "encode_s": 30.0,
    }
    return CameraFacts(**known | changes)


@pytest.mark.parametrize(
    ("cache", "changes", "kept", "reason"),
    [
        ("auto", {}, "mapped", "small, and read many times faster"),
        (
            "auto",
            {"array_bytes": 9 * GB},
            "decoded",
            "as arrays they take 9.0 GB, for c",
        ),
        (
            "auto",
            {"array_bytes": 9 * GB, "built": frozenset({"mapped"})},
            "mapped",
            "they were",
        ),
        ("auto", {"is_video": False, "array_bytes": 9 * GB}, "mapped", "the default for images"),
        (
            "auto",
            {"is_video": False, "array_bytes": 60 * GB},
            "decoded",
            "as arrays they take",
        ),
        (
            "auto",
            {"is_video": False, "array_bytes": 60 * GB, "can_decode": False},
            "memory",
            "as arrays they take 60.0 GB, half of the disk or more",
        ),
        ("none", {}, "decoded", "cache: none"),
        ("low_dim", {}, "decoded", "cache: low_dim"),
        ("low_dim", {"can_decode": False}, "memory", "single frames cannot be read from files of "),
        ("jpeg", {}, "jpeg", "cache: jpeg"),
        ("jpeg", {"can_jpeg": False}, "mapped", "JPEG holds 1 or 3 channels of 8 bits, not these"),
        ("uint8", {"array_bytes": 60 * GB}, "mapped", "cache: uint8"),
        ("ram", {}, "memory", "cache: ram"),
    ],
)
def test_cache_of_a_camera(
    monkeypatch: pytest.MonkeyPatch, cache: Any, changes: Any, kept: str, reason: str
) -> None:
    monkeypatch.setattr(frame_plan, "free_memory", lambda: 8 * GB)
    (plan,) = choose(cache, [camera(**changes)], 100 * GB, has_folder=True)
    assert plan.kept == kept
    assert plan.reason.startswith(reason)
    assert plan.bytes == {"decoded": 0, "jpeg": GB // 8}.get(kept, camera(**changes).array_bytes)


@pytest.mark.parametrize(
    ("cache", "is_video", "kept"),
    [("auto", True, "decoded"), ("auto", False, "memory"), ("jpeg", True, "memory")],
)
def test_without_a_folder_nothing_is_written(cache: Any, is_video: bool, kept: str) -> None:
    (plan,) = choose(cache, [camera(is_video=is_video)], 0, has_folder=False)
    assert (plan.kept, plan.reason) == (kept, "no folder can be written")


def test_videos_are_small_only_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_plan, "free_memory", lambda: 8 * GB)
    cameras = [camera(name=name, array_bytes=GB) for name in ("a", "b", "c")]
    assert {plan.kept for plan in choose("auto", cameras, 100 * GB, has_folder=True)} == {"decoded"}


def plan_of(*cameras: CameraPlan, free_disk: int = 47 * GB, free_memory: int = 8 * GB) -> CachePlan:
    title = "/data/cube (3,600 frames of 2 cameras, cache: auto)"
    return CachePlan(title, cameras, Path("/data/cube/.cache-trainer"), free_disk, free_memory)


def test_plan_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_plan, "_processors", lambda: 8)
    plan = plan_of(
        CameraPlan("top", "mapped", 829_440_000, 9.4, "small"),
        CameraPlan("wrist", "jpeg", 100_000_000, 150.0, "cache: jpeg"),
        CameraPlan("side", "decoded", 0, 0.0, "cache: low_dim"),
        CameraPlan("back", "mapped", 10**9, 9.0, "they were built before", is_built=True),
    )
    assert plan.lines() == [
        "frames of /data/cube (3,600 frames of 2 cameras, cache: auto)",
        "  top    uint8 on disk, 829.4 MB, about 9 s to build: small",
        "  wrist  JPEG on disk, 100.0 MB, about 2 min to build: cache: jpeg",
        "  side   decoded: cache: low_dim",
        "  back   uint8 on disk, 1.0 GB, there already: they were built before",
        (
            "  together 929.4 MB in about 3 min; free: 47.0 GB in /data/cube/.cache-trainer, "
            "8.0 GB of memory"
        ),
        (
            "  frames are decoded for every batch: data.num_workers: 7 keeps this machine's "
            "processors busy with it"
        ),
    ]


def test_arrays_need_no_loader_processes() -> None:
    plan = plan_of(CameraPlan("top", "memory", GB, 9.4, "cache: ram"))
    assert plan.advice() == "nothing is decoded for a batch: data.num_workers: 0 is fastest"


def test_runs_are_decoded_by_one_process() -> None:
    plan = replace(plan_of(CameraPlan("top", "decoded", 0, 0.0, "asked")), is_chunked=True)
    assert plan.advice() == (
        "frames are decoded once, in runs: data.num_workers: 0, for each loader process would "
        "decode every run"
    )


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (
            "mapped",
            (
                "the frames need 60.0 GB on disk, 47.0 GB are free in /data/cube/.cache-trainer; "
                "set cache_dir to another disk, or cache to jpeg, low_dim or none"
            ),
        ),
        (
            "memory",
            (
                "the frames need 60.0 GB of memory, 8.0 GB are free; set cache to uint8, jpeg or "
                "low_dim"
            ),
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_built(kept: Any, message: str) -> None:
    plan = plan_of(CameraPlan("top", kept, 60 * GB, 9.4, "asked"))
    with pytest.raises(StorageError) as caught:
        plan.require_space()
    assert str(caught.value) == f"{plan.title}: {message}"


def test_free_memory_is_that_of_this_machine() -> None:
    assert 0 < frame_plan.free_memory() < 1 << 50
