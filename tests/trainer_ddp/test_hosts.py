"""Two machines with networks of their own, which cannot look up their names."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.hosts import two_hosts

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 120


@pytest.mark.slow
def test_machines_meet_that_do_not_know_their_own_names(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    meeting = {"nproc_per_node": 1, "nnodes": 2, "rdzv_endpoint": "10.77.0.1:29400"}
    experiment["runner"] |= {**meeting, "rdzv_timeout_s": 60}
    config, log = tmp_path / "cfg.json", tmp_path / "log.txt"
    config.write_text(json.dumps(experiment))
    command = [sys.executable, "-m", "trainer_core", "run", str(config)]
    with two_hosts(tmp_path) as hosts:
        runs = [host.start(*command, log=log) for host in hosts]
        assert [run.wait(LIMIT_S) for run in runs] == [0, 0], log.read_text()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["step"] == 6
