"""Where processes listen: who else could reach them."""

from __future__ import annotations

from contextlib import suppress

import psutil

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def addresses_of(pid: int) -> dict[str, set[str]]:
    """Return where a process and those that it has started listen, by their names."""
    found: dict[str, set[str]] = {}
    started = psutil.Process(pid)
    for process in [started, *started.children(recursive=True)]:
        with suppress(psutil.Error):
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found.setdefault(process.name(), set()).add(connection.laddr.ip)
    return found
