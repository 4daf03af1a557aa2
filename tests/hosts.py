"""Machines of their own on this one: each has its network, processes and name, and a cable."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NEED = "needs root, unshare, nsenter and ip (apt-get install iproute2 util-linux)"
_LIMIT_S = 30
_BOOT = """
hostname $0 && mkdir -p /tmp/ray $1 && mount --bind $1 /tmp/ray && mount -t tmpfs shm /dev/shm &&
mount -t sysfs sysfs /sys && ip link set lo up && exec sleep infinity
"""


class Host:
    """One machine.

    Args:
        name: Its name, which nobody can look up, not even itself.
        address: In the network of all.
        folder: Where it keeps what Ray writes.
    """

    def __init__(self, name: str, address: str, folder: Path) -> None:
        self.address = address
        spaces = ["--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc"]
        command = ["unshare", *spaces, "--kill-child", "sh", "-c", _BOOT, name, str(folder / name)]
        self._outer = subprocess.Popen(command)
        self._started: list[subprocess.Popen[bytes]] = []
        self.pid = self._find_first()

    def start(self, *command: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
        """Start a program there."""
        enter = ["nsenter", "-t", str(self.pid), "-a", f"--wd={log.parent}"]
        with log.open("ab") as file:
            started = subprocess.Popen(
                [*enter, *command], stdout=file, stderr=file, env={**os.environ, **environment}
            )
        self._started.append(started)
        return started

    def plug(self, *, is_in: bool) -> None:
        """Put the cable in, or pull it out."""
        state = "up" if is_in else "down"
        _call("nsenter", "-t", str(self.pid), "-n", "ip", "link", "set", "eth0", state)

    def end(self) -> None:
        """End the machine with all that runs there."""
        self._outer.kill()
        for process in (self._outer, *self._started):
            process.wait(_LIMIT_S)

    def _find_first(self) -> int:
        deadline = time.monotonic() + _LIMIT_S
        while time.monotonic() < deadline:
            assert self._outer.poll() is None, _NEED
            for child in psutil.Process(self._outer.pid).children():
                if child.name() == "sleep":
                    return int(child.pid)
            time.sleep(0.02)
        raise AssertionError(_NEED)


@contextmanager
def two_hosts(folder: Path) -> Iterator[tuple[Host, Host]]:
    """Give two machines with a cable between them."""
    tools = all(shutil.which(name) for name in ("unshare", "nsenter", "ip"))
    assert tools, _NEED
    assert os.geteuid() == 0, _NEED
    first = Host("first-host", "10.77.0.1", folder)
    try:
        second = Host("second-host", "10.77.0.2", folder)
        try:
            ends = ["netns", str(first.pid), "type", "veth", "peer", "name", "eth0"]
            _call("ip", "link", "add", "eth0", *ends, "netns", str(second.pid))
            for host in (first, second):
                inside = ["nsenter", "-t", str(host.pid), "-n"]
                _call(*inside, "ip", "addr", "add", f"{host.address}/24", "dev", "eth0")
                host.plug(is_in=True)
            yield first, second
        finally:
            second.end()
    finally:
        first.end()


def _call(*command: str) -> None:
    subprocess.run(command, check=True, timeout=_LIMIT_S)
