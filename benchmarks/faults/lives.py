"""A run in many lives: killed or asked to stop at random, it goes on until it is complete."""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.faults import runs
from benchmarks.faults.forks import Child, fork

from trainer_core.engine.signals import leave_early
from trainer_core.errors import TrainerError
from trainer_core.run import EXIT_CODES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from trainer_core.engine.built import Experiment

__all__ = ["Lives", "complete", "difference", "measure"]

_READY = "ready\n"
_SLOWEST_S = 120.0


class Lives(NamedTuple):
    """How a run went.

    Attributes:
        codes: The exit code of each life, negative for a signal.
        ended_s: Seconds from the signal to the end, for each life that a signal ended.
        problem: Why it is not complete; empty if it is.
    """

    codes: list[int]
    ended_s: list[float]
    problem: str


def measure(
    config: Any, out_dir: Path, change: Callable[[Experiment], None] = lambda _: None
) -> float:
    """Run without a fault, in a process of its own; return how long it took, in seconds.

    Before, this process runs a little itself: what it has imported the forked ones need not.
    """
    runs.train(runs.small_run(steps=2), out_dir.with_name("imports"))
    child = _start(config, out_dir, change)
    began = time.perf_counter()
    code = child.wait(_SLOWEST_S)
    assert code == 0, child.output()
    return time.perf_counter() - began


def complete(
    config: Any,
    out_dir: Path,
    number: int,
    delays_s: Sequence[float],
    change: Callable[[Experiment], None] = lambda _: None,
) -> Lives:
    """Start a run again and again until it is complete.

    Args:
        config: The run.
        out_dir: Its folder.
        number: The signal that ends a life early; SIGKILL goes to all its processes.
        delays_s: When the signal comes in each life; the life after these is left alone.
        change: Called with what was built.
    """
    codes: list[int] = []
    ended_s: list[float] = []
    for delay_s in (*delays_s, None):
        child = _start(config, out_dir, change)
        sent = time.perf_counter()
        if delay_s is not None:
            time.sleep(delay_s)
            sent = time.perf_counter()
            _strike(child, number)
        codes.append(child.wait(_SLOWEST_S))
        if codes[-1] in {75, -number}:
            ended_s.append(time.perf_counter() - sent)
        elif codes[-1]:
            problem = f"a life ended with {codes[-1]}: {child.output()[-600:]}"
            return Lives(codes, ended_s, problem)
    problem = "" if codes[-1] == 0 else f"undisturbed, it ended with {codes[-1]}"
    return Lives(codes, ended_s, problem)


def difference(out_dir: Path, whole: Path) -> str:
    """Return in what a completed run differs from the uninterrupted one; empty if in nothing."""
    return runs.describe_difference(runs.end_of(out_dir), runs.end_of(whole))


def _strike(child: Child, number: int) -> None:
    if number == signal.SIGKILL:
        child.kill_with_children()
    else:
        child.send(number)


def _start(config: Any, out_dir: Path, change: Callable[[Experiment], None]) -> Child:
    """Start a life; return once signals are heard."""
    log = out_dir.with_suffix(".log")
    log.unlink(missing_ok=True)
    child = fork(partial(_live, config, out_dir, change), log)
    deadline = time.monotonic() + _SLOWEST_S
    while time.monotonic() < deadline and child.is_running():
        if log.exists() and _READY in child.output():
            break
        time.sleep(0.0005)
    return child


def _live(config: Any, out_dir: Path, change: Callable[[Experiment], None]) -> int:
    try:
        with leave_early():
            print(_READY, end="", flush=True)
            return EXIT_CODES[runs.train(config, out_dir, change=change).status]
    except TrainerError as error:
        print(error, flush=True)
        return error.exit_code
