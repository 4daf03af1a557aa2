"""Two machines, one of which is another one or dies: real raylets, of which one gets SIGKILL."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.trainer_ray.processes import LIMIT_S, wait_for

import trainer_core
from trainer_core.checkpoint.layout import list_steps
from trainer_core.errors import TrainerError, UserError
from trainer_ray.cluster import cluster, import_ray
from trainer_ray.options import Options
from trainer_ray.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    AddMachine = Callable[..., Any]

ON_ONE = {"node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20}
HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}


@pytest.fixture(scope="module")
def first() -> Iterator[Any]:
    """A machine with two CPUs, the head of a cluster."""
    import_ray()
    from ray.cluster_utils import Cluster

    settings = {**ON_ONE, "num_cpus": 2, "include_dashboard": False, "_system_config": HEALTH}
    started = Cluster(initialize_head=True, head_node_args=settings)
    yield started
    started.shutdown()  # type: ignore[no-untyped-call] # Ray leaves it so


@pytest.fixture
def add_machine(first: Any) -> Iterator[AddMachine]:
    """Adds a machine with one CPU to the cluster until the test ends."""
    added = []

    def add(**environment: str) -> Any:
        added.append(first.add_node(**ON_ONE, num_cpus=1, env_vars=environment))
        return added[-1]

    yield add
    for node in added:
        if node in first.worker_nodes:
            first.remove_node(node, allow_graceful=False)


@pytest.fixture
def on_both(experiment_alone: dict[str, Any], first: Any) -> dict[str, Any]:
    """An experiment with a worker on each machine."""
    experiment_alone["runner"] |= {"address": first.address, "placement": "SPREAD"}
    return experiment_alone


def test_a_machine_with_other_software_is_named_before_the_first_step(
    on_both: dict[str, Any], add_machine: AddMachine, tmp_path: Path
) -> None:
    info = tmp_path / "site" / "torch-1.2.3.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.2.3\n")
    add_machine(PYTHONPATH=str(tmp_path / "site"))
    on_both["runner"]["timeout_s"] = 120
    with pytest.raises(UserError) as caught:
        trainer_core.run(on_both)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("the machine 127.0.0.1 has other software:")
    assert lines[1].startswith("  torch is 2.")
    assert lines[1].endswith(" where the run was started, and 1.2.3 here")
    assert list_steps(tmp_path / "run" / "checkpoints") == []


def test_a_run_goes_on_without_a_machine_that_died_although_the_object_store_is_full(
    on_both: dict[str, Any], add_machine: AddMachine, first: Any, tmp_path: Path
) -> None:
    second, root = add_machine(), tmp_path / "run" / "checkpoints"
    on_both["runner"] |= {"max_failures": 1, "storage": str(tmp_path / "storage")}
    on_both["trainer"] |= {"max_steps": 1_000_000, "log_every_n_steps": 100}
    on_both["callbacks"][0] |= {"every_n_steps": 100, "keep_last": 100_000}
    committed: list[int] = []

    def kill() -> None:
        wait_for(lambda: len(list_steps(root)) >= 2)
        workers = _workers_of(second)
        assert workers
        os.kill(second.all_processes["raylet"][0].process.pid, signal.SIGKILL)
        wait_for(lambda: not any(worker.is_running() for worker in workers))
        committed.extend(step for step, _ in list_steps(root))
        wait_for(lambda: list_steps(root)[0][0] > max(committed) + 100)
        os.kill(os.getpid(), signal.SIGINT)

    killer = threading.Thread(target=kill, daemon=True)
    with cluster(Options(address=first.address)):
        held = _fill_object_store()
        killer.start()
        result = trainer_core.run(on_both)
        killer.join(LIMIT_S)
        del held
        assert result.status == "interrupted"
        kept = {step for step, _ in list_steps(root)}
        assert kept >= set(committed)
        copied = {step for step, _ in list_steps(tmp_path / "storage" / "checkpoints")}
        assert max(kept) in copied
        _require_refusal_without_room()


@pytest.mark.slow
def test_a_run_that_lost_its_room_ends_and_says_where_it_goes_on(
    on_both: dict[str, Any], add_machine: AddMachine, tmp_path: Path
) -> None:
    second, root = add_machine(), tmp_path / "run" / "checkpoints"
    on_both["runner"] |= {"num_workers": 3, "max_failures": 3, "rejoin_timeout_s": 3}
    on_both["trainer"] |= {"max_steps": 1_000_000, "log_every_n_steps": 1000}
    on_both["callbacks"][0] |= {"every_n_steps": 1000}

    def kill() -> None:
        wait_for(lambda: list_steps(root))
        os.kill(second.all_processes["raylet"][0].process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(TrainerError) as caught:
        trainer_core.run(on_both)
    killer.join(LIMIT_S)
    newest = list_steps(root)[0][0]
    assert str(caught.value) == (
        "runner ray: a machine is gone, and those left have room for 2 of 3 workers "
        "(127.0.0.1 has CPU: 2); none came in 3 s (rejoin_timeout_s); the same command goes on "
        f"from step {newest} when the cluster has room"
    )


def _workers_of(node: Any) -> list[psutil.Process]:
    """Return the processes that train on a machine."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [each for each in raylet.children() if "RayTrainWorker" in " ".join(each.cmdline())]


def _fill_object_store() -> list[Any]:
    """Put more into the cluster than its store holds: the rest goes to the disk."""
    import numpy as np
    import ray

    return [ray.put(np.zeros(20 * 2**20, np.uint8)) for _ in range(5)]


def _require_refusal_without_room() -> None:
    room = Room(Options(num_workers=3, rejoin_timeout_s=0.1))
    time.sleep(1.1)
    room.look()
    assert room.is_short
    time.sleep(1.1)
    with pytest.raises(TrainerError) as caught:
        room.look()
    assert str(caught.value) == (
        "runner ray: a machine is gone, and those left have room for 2 of 3 workers "
        "(127.0.0.1 has CPU: 2); none came in 0.1 s (rejoin_timeout_s)"
    )
