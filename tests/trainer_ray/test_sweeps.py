"""Sweeps in a real cluster: side by side, killed, interrupted, going on, and what they refuse."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.trainer_ray.processes import LIMIT_S, wait_for

from trainer_core.checkpoint.layout import list_steps
from trainer_core.cli import main
from trainer_ray.cluster import import_ray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
PARTS = """
import time
from pathlib import Path

from trainer_core.hookspecs import hookimpl

class Holding:
    def __init__(self, gate: str) -> None:
        self.gate = Path(gate)

    @hookimpl
    def trainer_step_end(self, state):
        seed = state.experiment.seed
        while seed == 1 and state.step == 4 and not self.gate.exists() and not state.interrupted():
            time.sleep(0.05)
        if seed == 1 and state.step == 5 and self.gate.with_name("bad").exists():
            raise ArithmeticError("this seed is bad")
"""


class Terminal:
    """A process on a terminal of its own, and what that shows."""

    def __init__(self, command: list[str]) -> None:
        own, given = pty.openpty()
        termios.tcsetwinsize(given, (24, 200))
        environment = {**os.environ, "TERM": "xterm"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=given, text=True, env=environment
        )
        os.close(given)
        self._shown = b""
        self._reader = threading.Thread(target=self._read, args=(own,), daemon=True)
        self._reader.start()

    @property
    def shown(self) -> str:
        return CODES.sub("", self._shown.decode(errors="replace"))

    def wait_for(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition is true; the process may not end before."""

        def is_over() -> bool:
            assert self.process.poll() is None, self.shown
            return bool(condition())

        try:
            wait_for(is_over)
        except AssertionError as late:
            raise AssertionError(self.shown) from late

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Send a signal, if any; return the exit code, and what was printed."""
        if number is not None:
            self.process.send_signal(number)
        try:
            printed, _ = self.process.communicate(timeout=LIMIT_S)
        finally:
            self.process.kill()
        self._reader.join(LIMIT_S)
        return self.process.returncode, printed

    def _read(self, own: int) -> None:
        with suppress(OSError):  # nobody writes to it any more
            while part := os.read(own, 65536):
                self._shown += part
        os.close(own)


@pytest.fixture
def held(experiment: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose trial of seed 1 waits in step 4, until there is a file `gate` beside it."""
    site = tmp_path / "site"
    info = site / "held_parts-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: held-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[trainer_core.callbacks]\nhold = held_parts:Holding\n")
    (site / "held_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.chdir(tmp_path)
    experiment["runner"] |= {"num_workers": 1, "resources_per_worker": {"CPU": 3}}  # two at a time
    experiment["callbacks"][0] |= {"every_n_steps": 2}
    experiment["callbacks"] += [{"_type_": "hold", "gate": str(tmp_path / "gate")}]
    config = tmp_path / "cfg.yaml"
    config.write_text(json.dumps(experiment))
    return config


def _trials(config: Path) -> list[tuple[str, int]]:
    """Return status and step of each trial, as the sweep has noted them."""
    with suppress(OSError):
        text = (config.parent / "run" / "sweep" / "sweep.json").read_text()
        return [(trial["status"], trial["step"]) for trial in json.loads(text)["trials"]]
    return []


def _steps(config: Path, seed: int) -> list[int]:
    folder = config.parent / "run" / "sweep" / f"{seed}-seed={seed}"
    return [step for step, _ in list_steps(folder / "checkpoints")]


def _command(config: Path, trials: int, *changes: str) -> list[str]:
    return ["run", str(config), *changes, "--sweep", f"run.seed=range({trials})"]


def test_a_killed_sweep_is_true_and_goes_on_although_a_trial_fails(
    held: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    storage = tmp_path / "storage"
    command = _command(held, 2, f"runner.storage={storage}")
    driver = Terminal([sys.executable, "-m", "trainer_core", *command])
    try:
        driver.wait_for(lambda: ("completed", 6) in _trials(held) and 2 in _steps(held, 1))
        driver.wait_for(lambda: re.search(r"\n1 +running +1 +4/6 ", driver.shown))
    finally:
        driver.end(signal.SIGKILL)
    assert _trials(held) == [("completed", 6), ("pending", 0)]
    (tmp_path / "gate").touch()
    (tmp_path / "bad").touch()
    assert main([*command, "--json"]) == 1
    out, err = capfd.readouterr()
    assert "this seed is bad" in json.loads(out)["trials"][1]["error"]
    assert _trials(held) == [("completed", 6), ("failed", 5)]
    assert "0-seed=0" not in err
    assert re.search(r"1-seed=1: going on after step [24]\n", err)
    assert re.search(r"1-seed=1: failed: .*this seed is bad", err)
    assert [_newest(storage / f"{seed}-seed={seed}") for seed in range(2)] == [6, 4]


def _newest(folder: Path) -> int:
    return list_steps(folder / "checkpoints")[0][0]


@pytest.mark.slow
def test_four_trials_in_two_places_live_through_a_kill_and_an_interrupt(
    held: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "trainer_core", *_command(held, 4)]
    driver = Terminal(command)
    try:
        driver.wait_for(lambda: ("completed", 6) in _trials(held) and 2 in _steps(held, 1))
    finally:
        driver.end(signal.SIGKILL)
    done = _trials(held).count(("completed", 6))
    driver = Terminal(command)
    try:
        driver.wait_for(lambda: re.search(r"\n1 +running ", driver.shown))
        driver.wait_for(lambda: _trials(held).count(("completed", 6)) > done)
    finally:
        code, printed = driver.end(signal.SIGINT)
    assert code == 75, driver.shown
    assert printed.endswith("the state is saved; the same command goes on\n")
    assert _trials(held)[1] == ("interrupted", 4)
    assert re.search(r"1-seed=1: going on after step [24]\r?\n", driver.shown)
    (tmp_path / "gate").touch()
    assert main(_command(held, 4)) == 0
    assert _trials(held) == [("completed", 6)] * 4
    assert "1-seed=1: going on after step 4\n" in capfd.readouterr().err


@contextmanager
def _taking(address: str, amount: float) -> Iterator[None]:
    """Hold so many bytes of the cluster's memory, as Ray counts it."""
    ray = import_ray()
    ray.init(address, namespace="trainer", log_to_driver=False, logging_level="ERROR")
    try:
        taken = ray.util.placement_group([{"memory": amount}])
        assert taken.wait(LIMIT_S)
        yield
    finally:
        ray.shutdown()


def test_a_signal_before_the_workers_begin_leaves_with_75(held: Path, address: str) -> None:
    with _taking(address, 2**20):
        memory = import_ray().cluster_resources()["memory"]
        needs = f"runner.resources_per_worker={{memory: {memory}}}"
        driver = Terminal([sys.executable, "-m", "trainer_core", *_command(held, 2, needs)])
        try:
            driver.wait_for(lambda: re.search(r"\n0 +starting ", driver.shown))
        finally:
            code, printed = driver.end(signal.SIGINT)
    assert code == 75, driver.shown
    assert "0-seed=0: interrupted by SIGINT before the workers began; " in driver.shown
    assert printed.splitlines()[1:3] == [
        "0      interrupted  0     0      0",
        "1      pending      1     0      0",
    ]


def test_trials_that_never_fit_are_refused_at_once(
    held: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(_command(held, 2, "runner.resources_per_worker={CPU: 99}")) == 2
    assert "do not fit: the cluster has room for 0" in capfd.readouterr().err
    assert not (held.parent / "run").exists()
