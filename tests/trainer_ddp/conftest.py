"""A small experiment, and a wheel whose parts behave differently on each rank."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.distributed.reports import rebuild
from trainer_core.experiment.loading import load_experiment
from trainer_core.run import build_runner
from trainer_ddp.launcher import describe_job

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = Path(__file__).with_name("rank_parts.py")
LIMIT_S = 90


class Agent:
    """Runs experiments as `trainer_core.run` does, all in forks of one process."""

    def __init__(self, log: Path) -> None:
        self.log = log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, str(PARTS.with_name("patient_agent.py"))],
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, config: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Return the result, or raise what the launcher would."""
        loaded = load_experiment(config)
        loaded.dry_run = dry_run
        options = build_runner(loaded).options
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "job.json").write_text(json.dumps(describe_job(loaded, options, folder)))
            assert self.process.stdin is not None
            print(folder, file=self.process.stdin, flush=True)
            deadline = time.monotonic() + LIMIT_S
            while not (folder / "outcome.json").exists():
                assert self.process.poll() is None, Path(self.log.name).read_text()
                assert time.monotonic() < deadline, Path(self.log.name).read_text()
                time.sleep(0.02)
            outcome = json.loads((folder / "outcome.json").read_bytes())
        if "error" in outcome:
            raise rebuild(outcome["error"], rank=outcome.get("rank"))
        result: dict[str, Any] = outcome["result"]
        return result


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """One agent for all tests."""
    one = Agent(tmp_path_factory.mktemp("agent") / "agent.log")
    yield one
    assert one.process.stdin is not None
    one.process.stdin.close()
    one.process.wait(LIMIT_S)
    one.log.close()


@pytest.fixture
def experiment(dropout_experiment: dict[str, Any]) -> dict[str, Any]:
    """The same in two processes."""
    runner = {"_type_": "ddp", "nproc_per_node": 2, "timeout_s": 30}
    return {**dropout_experiment, "runner": runner}


@pytest.fixture
def rank_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the components of `rank_parts.py`."""
    info = tmp_path / "site" / "rank_parts-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rank-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[trainer_core.trainers]\n"
        "own_step = rank_parts:OwnStep\n"
        "masked = rank_parts:Masked\n"
        "failing = rank_parts:Failing\n"
        "diverging = rank_parts:Diverging\n"
        "penalised = rank_parts:Penalised\n"
        "copying = rank_parts:Copying\n"
        "[trainer_core.datasets]\n"
        "missing_on_rank_1 = rank_parts:MissingOnRank1\n"
    )
    (tmp_path / "site" / "rank_parts.py").write_text(PARTS.read_text())
    monkeypatch.syspath_prepend(tmp_path / "site")
