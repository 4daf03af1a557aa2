from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from trainer_core.engine.signals import InterruptFlag, catch_interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signal_sets_the_flag_and_wakes(number: signal.Signals) -> None:
    before, woken = signal.getsignal(number), []
    with catch_interrupts(lambda: woken.append(1)) as flag:
        assert not flag
        os.kill(os.getpid(), number)
        assert flag.signal_name == number.name
    assert woken == [1]
    assert signal.getsignal(number) == before


def test_second_signal_ends_the_process_at_once() -> None:
    code = (
        "import os, signal\nfrom trainer_core.engine.signals import catch_interrupts\n"
        "with catch_interrupts(lambda: None):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('still here')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "")


def test_other_threads_run_without_handlers() -> None:
    flags: list[InterruptFlag] = []

    def work() -> None:
        with catch_interrupts(lambda: None) as flag:
            flags.append(flag)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not flags[0]
