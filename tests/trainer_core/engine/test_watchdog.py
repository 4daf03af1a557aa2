from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from trainer_core.engine.watchdog import Watchdog

if TYPE_CHECKING:
    import pytest

_RUN = """
    import sys, time
    from pathlib import Path
    from trainer_core.engine.build import build_experiment
    from trainer_core.engine.loop import fit
    from trainer_core.experiment.loading import load_experiment
    from trainer_core.ranks import LocalRanks
    from trainer_core.testing.tiny import tiny_experiment

    out, workers = Path(sys.argv[1]), int(sys.argv[2])
    config = tiny_experiment()
    config["run"] = {"name": "hung", "out_dir": str(out), "device": "cpu", "watchdog_s": 1.0}
    config["trainer"]["max_steps"] = 50
    config["data"]["num_workers"] = workers
    experiment = build_experiment(load_experiment(config), LocalRanks())
    read = experiment.dataset.__getitems__

    class Hung:
        def __len__(self):
            return 16

        def __getitems__(self, indices):
            if 7 in indices:
                wait_for_a_disk_that_is_gone()
            return read(indices)

    def wait_for_a_disk_that_is_gone():
        time.sleep(600)

    experiment.dataset = Hung()
    fit(experiment, out)
"""


def hang(out_dir: Path, workers: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(_RUN), str(out_dir), str(workers)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_hung_data_set_ends_with_the_stacks(tmp_path: Path) -> None:
    done = hang(tmp_path, 0)
    stacks = tmp_path / "stacks" / "rank-0.txt"
    message, _, rest = stacks.read_text().partition("\n\n")
    assert done.returncode == 1
    assert message == (
        f"no progress for 1 s after step {message.split()[7].rstrip(':')}: rank 0 hangs and is "
        f"ended (run.watchdog_s). The stacks of its threads are in {stacks}"
    )
    assert "wait_for_a_disk_that_is_gone" in rest
    assert "wait_for_a_disk_that_is_gone" in done.stderr
    assert json.loads((tmp_path / "summary.json").read_text())["error"] == message


def test_stacks_of_loader_processes_are_on_stderr(tmp_path: Path) -> None:
    done = hang(tmp_path, 1)
    assert done.returncode == 1
    assert "wait_for_a_disk_that_is_gone" in done.stderr
    assert "wait_for_a_disk_that_is_gone" not in (tmp_path / "stacks" / "rank-0.txt").read_text()


def make_watchdog(limit_s: float | None, timeout_s: float | None = None) -> Watchdog:
    ranks = SimpleNamespace(rank=0, timeout_s=timeout_s, is_waiting=False)
    state = SimpleNamespace(step=0, out_dir=Path("unused"), ranks=ranks)
    return Watchdog(state, limit_s)  # type: ignore[arg-type] # all that it looks at


def test_paused_watchdog_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    watchdog, ended = make_watchdog(0.05), []
    monkeypatch.setattr(watchdog, "_end", lambda *_: ended.append(1))
    with watchdog.watching(), watchdog.pause():
        watchdog._done.wait(0.3)
    assert ended == []


def test_beat_ends_a_pause() -> None:
    watchdog = make_watchdog(None)
    with watchdog.pause():
        watchdog.beat()
        assert watchdog._paused == 0


def test_no_limit_starts_no_thread() -> None:
    with make_watchdog(None).watching() as nothing:
        assert nothing is None


def test_limit_is_below_the_patience_of_the_other_processes() -> None:
    assert make_watchdog(600.0, 120.0).limit_s == 90.0
    assert make_watchdog(60.0, 120.0).limit_s == 60.0
    assert make_watchdog(None, 120.0).limit_s is None


def test_process_that_was_stopped_is_not_hung(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from types import SimpleNamespace as N\n"
        "from trainer_core.engine.watchdog import Watchdog\n"
        "ranks = N(rank=0, timeout_s=None, is_waiting=False, world_size=1)\n"
        "watchdog = Watchdog(N(step=0, out_dir=Path(sys.argv[1]), ranks=ranks), 2.0)\n"
        "with watchdog.watching():\n"
        "    print('ready', flush=True)\n"
        "    for _ in range(20):\n"
        "        time.sleep(0.1)\n"
        "        watchdog.state.step += 1\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == 0
