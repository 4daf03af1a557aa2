"""A replay buffer under Ray that is killed again and again while producers send episodes."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.faults.replay import KEYS, adds_of, content_problem

from trainer_core.errors import TrainerError
from trainer_ray.online.buffer_actor import start_buffer
from trainer_ray.online.client import ReplayClient, ask
from trainer_ray.online.replay_buffer import ReplayBuffer

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

__all__ = ["Kills", "kill_often"]

PRODUCERS = 2
_NAME = "replay_buffer_of_faults"
_CAPACITY, _SEGMENT_BYTES = 1_000_000, 20_000
_LIMIT_S = 60.0


class Kills(NamedTuple):
    """How it went.

    Attributes:
        problem: What was wrong afterwards; empty if nothing was.
        acknowledged: Adds that the producers were told of.
        back_s: Seconds from each kill to the next answer.
    """

    problem: str
    acknowledged: int
    back_s: list[float]


def kill_often(folder: Path, kills: int, random: Random) -> Kills:
    """Kill the actor at random times; then compare it with what was acknowledged.

    Ray must be connected. Producers are processes of their own.

    Args:
        folder: An empty one.
        kills: How often.
        random: Gives the times.
    """
    import ray

    actor = start_buffer(
        str(folder / "replay"),
        KEYS,
        name=_NAME,
        timeout_s=_LIMIT_S,
        capacity=_CAPACITY,
        segment_bytes=_SEGMENT_BYTES,
    )
    stop = folder / "stop"
    produce = ray.remote(num_cpus=0, max_retries=0)(_produce)
    producers = [produce.remote(number, str(stop)) for number in range(PRODUCERS)]
    back_s = []
    try:
        _wait_for_adds(actor, PRODUCERS)
        for _ in range(kills):
            time.sleep(random.uniform(0.0, 0.4))
            back_s.append(_kill(actor))
        stop.touch()
        sent: list[int] = ray.get(producers, timeout=_LIMIT_S)
    finally:
        stop.touch()
        ray.kill(actor, no_restart=True)
    return Kills(_problem(folder / "replay", sent), sum(sent), back_s)


def _produce(producer: int, stop: str) -> int:
    """Send episodes until a file appears; return how many adds were acknowledged."""
    client = ReplayClient(f"arm {producer}", name=_NAME, patience_s=_LIMIT_S)
    number = 0
    while not os.path.exists(stop):  # noqa: PTH110 - a string of another process
        client.add(adds_of(number, producer))
        number += 1
    return number


def _wait_for_adds(actor: Any, producers: int) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while len(ask(actor, "describe", timeout_s=_LIMIT_S)["producers"]) < producers:
        if time.monotonic() > deadline:
            msg = "the producers have sent nothing"
            raise TrainerError(msg)
        time.sleep(0.05)


def _kill(actor: Any) -> float:
    """Kill the actor's process; return how long it took until another one answered."""
    pid = ask(actor, "pid", timeout_s=_LIMIT_S)
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    while ask(actor, "pid", timeout_s=_LIMIT_S) == pid:
        time.sleep(0.01)
    return time.monotonic() - began


def _problem(folder: Path, sent: list[int]) -> str:
    wanted = {
        frame
        for producer, adds in enumerate(sent)
        for number in range(adds)
        for episode in adds_of(number, producer)
        for frame in episode["columns"]["frame"].tolist()
    }
    buffer = ReplayBuffer(str(folder), KEYS, capacity=_CAPACITY, lock_patience_s=_LIMIT_S)
    try:
        about = buffer.describe()
        if about["lost"]:
            return f"it speaks of damage: {about['lost'][0]}"
        last = {f"arm {producer}": adds - 1 for producer, adds in enumerate(sent)}
        if about["producers"] != last:
            return f"{last} were acknowledged, and the buffer knows of {about['producers']}"
        return content_problem(buffer, wanted)
    finally:
        buffer.close()
