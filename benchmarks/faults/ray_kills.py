"""Kills workers, drivers and machines of a run on two machines of Ray; prints a line for each kill.

    python -m benchmarks.faults.ray_kills FOLDER KILLS SEED

A process of its own, because the other rows fork theirs: Ray starts threads. The machines are
raylets on this one; a driver that is killed is started again, as a scheduler would.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import psutil
from benchmarks.faults import runs

from trainer_core.checkpoint.layout import list_steps
from trainer_core.checkpoint.reader import newest_valid
from trainer_ray.cluster import import_ray

KINDS = ("machine", "worker", "driver")
PATIENCE_S = 300.0
ON_LOOPBACK: dict[str, Any] = {"node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20}
HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}


class Scene:
    """A cluster of two machines and the driver of one run.

    Args:
        folder: Where the run folder and the driver's output are.
    """

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        head = {**ON_LOOPBACK, "num_cpus": 2, "include_dashboard": False, "_system_config": HEALTH}
        self.folder = folder
        self.root = folder / "run" / "checkpoints"
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.second = self.cluster.add_node(**ON_LOOPBACK, num_cpus=1)
        self.config = folder / "cfg.json"
        self.config.write_text(json.dumps(_experiment(folder, self.cluster.address)))
        self.driver = self.start_driver()

    def start_driver(self) -> subprocess.Popen[bytes]:
        """Start the run, or go on with it."""
        command = [sys.executable, "-m", "trainer_core", "run", str(self.config)]
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def workers(self) -> list[psutil.Process]:
        """Return the processes that train, on either machine."""
        nodes = [self.cluster.head_node, self.second]
        raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
        found = []
        for raylet in raylets:
            with suppress(psutil.Error):
                for each in psutil.Process(raylet).children():
                    with suppress(psutil.Error):
                        if "RayTrainWorker" in " ".join(each.cmdline()):
                            found.append(each)
        return found

    def newest(self) -> int:
        """Return the newest committed step; 0 while there is none."""
        steps = list_steps(self.root)
        return steps[0][0] if steps else 0

    def wait_beyond(self, step: int) -> bool:
        """Wait for a newer checkpoint than that of a step; return whether there is one."""
        deadline = time.monotonic() + PATIENCE_S
        while self.newest() <= step:
            if time.monotonic() > deadline or self.driver.poll() is not None:
                return False
            time.sleep(0.02)
        return True

    def kill(self, kind: str, random: Random) -> None:
        """Kill a process of a kind; what was killed is replaced but for workers, as Ray does it."""
        before = self.workers()
        if kind == "worker":
            random.choice(before).kill()
        elif kind == "driver":
            self.driver.send_signal(signal.SIGKILL)
            self.driver.wait()
            self.driver = self.start_driver()
        else:
            os.kill(self.second.all_processes["raylet"][0].process.pid, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_S
        while any(each.is_running() for each in before) and time.monotonic() < deadline:
            time.sleep(0.02)
        if kind == "machine":
            self.cluster.remove_node(self.second, allow_graceful=False)
            self.second = self.cluster.add_node(**ON_LOOPBACK, num_cpus=1, wait=False)


def strike(scene: Scene, kind: str, random: Random) -> dict[str, Any]:
    """Kill once; return what came of it."""
    scene.wait_beyond(scene.newest())
    time.sleep(random.uniform(0, 1))
    committed, began = scene.newest(), time.perf_counter()
    scene.kill(kind, random)
    left = scene.newest()  # what the last of the old processes committed
    goes_on = scene.wait_beyond(max(committed, left))
    took_s = time.perf_counter() - began
    checkpoint = newest_valid(scene.root, quarantine=False)
    problem = ""
    if not goes_on:
        problem = f"it did not go on: {(scene.folder / 'log.txt').read_text()[-500:]}"
    elif checkpoint is None or checkpoint.step < committed:
        problem = f"step {committed} was committed and is lost"
    return {"kind": kind, "took_s": took_s, "problem": problem}


def _experiment(folder: Path, address: str) -> dict[str, Any]:
    runner = {"_type_": "ray", "num_workers": 2, "placement": "SPREAD", "address": address}
    runner |= {"max_failures": 10_000, "timeout_s": 60}
    config = runs.small_run(steps=100_000_000, every=100, keep=20, runner=runner)
    config["run"]["out_dir"] = str(folder / "run")
    config["trainer"]["log_every_n_steps"] = 1000
    del config["scheduler"]
    return config


def main() -> None:
    """Kill as often as it is wanted."""
    folder, kills, random = Path(sys.argv[1]), int(sys.argv[2]), Random(int(sys.argv[3]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # and what was started ends too
    os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # loopback only
    import_ray()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    scene = Scene(folder)
    try:
        for number in range(kills):
            answer = strike(scene, KINDS[number % len(KINDS)], random)
            print(json.dumps(answer), file=answers, flush=True)
            if "did not go on" in answer["problem"]:
                break
    finally:
        scene.driver.kill()
        scene.cluster.shutdown()  # type: ignore[no-untyped-call] # Ray leaves it so


if __name__ == "__main__":
    main()
