"""A rank that makes no progress: every rank leaves its stacks, and the run ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.errors import TrainerError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.trainer_ddp.conftest import Agent

pytestmark = pytest.mark.timeout(120)

PARTS = """
import os, time
from trainer_core.datasets import RandomRegression

class Data:
    def __init__(self, dataset):
        self.dataset = dataset
        self.reads = 0

    def __len__(self):
        return len(self.dataset)

    def __getitems__(self, indices):
        self.reads += 1
        if self.reads == 4 and os.environ["RANK"] == "1":
            sleep_for_ever()
        return self.dataset.__getitems__(indices)

def sleep_for_ever():
    time.sleep(600)

class Hanging(RandomRegression):
    def build(self, opt_params, params):
        splits = super().build(opt_params, params)
        return {**splits, "dataset": Data(splits["dataset"])}
"""


@pytest.fixture
def hung_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "site" / "hung_parts-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hung-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[trainer_core.datasets]\nhung = hung_parts:Hanging\n")
    (tmp_path / "site" / "hung_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.mark.usefixtures("hung_parts")
def test_every_rank_leaves_its_stacks(
    experiment: dict[str, Any], agent: Agent, tmp_path: Path
) -> None:
    experiment["data"]["_type_"] = "hung"
    experiment["run"]["watchdog_s"] = 1.5
    with pytest.raises(TrainerError, match=r"^rank [01]: "):
        agent.run(experiment)
    stacks = {path.name: path.read_text() for path in tmp_path.glob("run/stacks/*")}
    assert sorted(stacks) == ["rank-0.txt", "rank-1.txt"]
    assert "sleep_for_ever" in stacks["rank-1.txt"]
    assert "sleep_for_ever" not in stacks["rank-0.txt"]
