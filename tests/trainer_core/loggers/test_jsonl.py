from __future__ import annotations

import json
import resource
from typing import TYPE_CHECKING

from trainer_core.loggers.jsonl import JsonlLogger, read_metrics

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def write(out_dir: Path, steps: list[int], resumed_step: int | None = None) -> None:
    logger = JsonlLogger()
    logger.start({"out_dir": str(out_dir), "resumed_step": resumed_step})
    for step in steps:
        logger.log({"loss": 1 / step}, step)
    logger.finish("completed")


def test_lines_are_json_objects_in_order(tmp_path: Path) -> None:
    write(tmp_path, [1, 2])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "loss": 1},
        {"step": 2, "loss": 0.5},
    ]


def test_steps_that_are_done_again_are_dropped(tmp_path: Path) -> None:
    write(tmp_path, [1, 2, 3, 4])
    write(tmp_path, [3, 5], resumed_step=2)
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 5]


def test_half_written_line_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, [1])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    write(tmp_path, [2], resumed_step=1)
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]


def test_values_that_are_not_finite_are_null(tmp_path: Path) -> None:
    logger = JsonlLogger()
    logger.start({"out_dir": str(tmp_path)})
    logger.log({"loss": float("nan"), "norm": float("inf")}, 1)
    logger.finish("completed")
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": None, "norm": None}]


def test_lines_wait_for_a_full_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = JsonlLogger()
    logger.start({"out_dir": str(tmp_path)})
    logger.log({"loss": 1.0}, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, before[1]))
    try:
        logger.log({"loss": 0.5}, 2)
        logger.log({"loss": 0.2}, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == [1]
    logger.log({"loss": 0.1}, 4)
    logger.finish("completed")
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    assert caplog.messages == [
        f"{tmp_path}/metrics.jsonl waits for the disk: No space left on device"
    ]


def test_file_that_was_removed_is_written_again(tmp_path: Path) -> None:
    logger = JsonlLogger()
    logger.start({"out_dir": str(tmp_path / "run"), "resumed_step": None})
    logger.log({"loss": 1.0}, 1)
    (tmp_path / "run").rename(tmp_path / "moved")
    logger.log({"loss": 0.5}, 2)
    logger.finish("completed")
    records = read_metrics(tmp_path / "run/metrics.jsonl")
    assert [record["step"] for record in records] == [1, 2]
    assert [record["step"] for record in read_metrics(tmp_path / "moved/metrics.jsonl")] == [1]
