"""Every process of an online run is killed once; `hatch run faults F21` kills many more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import ray
from benchmarks.faults.online_run import OnlineRun

from trainer_ray.mailbox import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def online(program: None, address: str, tmp_path: Path) -> Iterator[OnlineRun]:
    """A run in the cluster of all tests, in a process of its own."""
    names = {"replay_buffer": str(tmp_path), "policy_state_manager": f"{tmp_path} weights"}
    options: dict[str, Any] = {"address": address, **names}

    def find(kind: str) -> list[int]:
        if kind == "rollout":
            return [int((tmp_path / "run" / "rollouts" / "rollout-0" / "pid").read_text())]
        name = names["replay_buffer" if kind == "buffer" else "policy_state_manager"]
        actor: Any = ray.get_actor(name, namespace=NAMESPACE)
        return [ray.get(actor.pid.remote())]

    run = OnlineRun(tmp_path, options, find)
    yield run
    run.end()


def test_whatever_is_killed_the_run_goes_on_and_loses_nothing(online: OnlineRun) -> None:
    online.start()
    assert online.kill("rollout", "manager", "buffer") == ""
    assert online.kill("driver") == ""
    assert online.stop() == ""
