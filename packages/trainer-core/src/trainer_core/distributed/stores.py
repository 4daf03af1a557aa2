"""What processes meet through, listening where they look for it and nowhere else.

torch by itself listens on every interface, whatever the address; its stores ask for no password.
"""

from __future__ import annotations

import errno
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined] # not in its __all__

from trainer_core.distributed.addresses import address_to_listen_at, listen

__all__ = ["join_store", "serve_store"]

_MOST_WAITING = 1024
_PATIENCE = timedelta(minutes=5)


def serve_store(
    host: str, port: int, timeout: timedelta = _PATIENCE, *, world_size: int | None = None
) -> TCPStore:
    """Open a store that others join.

    Args:
        host: How they call this machine. Where it does not know itself by that, the store listens
            on every interface.
        port: 0: one that is free.
        timeout: How long to wait for the others, and for what they write.
        world_size: How many there are, to wait for all of them; None: nobody is waited for.

    Raises:
        RuntimeError: Another program has the port, or they did not come.
    """
    address = address_to_listen_at(host)
    is_waiting = world_size is not None
    if address is None:
        return TCPStore(
            host, port, world_size, is_master=True, timeout=timeout, wait_for_workers=is_waiting
        )
    try:
        listening = listen(address, port, _MOST_WAITING)
    except OSError as error:
        raise RuntimeError(errno.errorcode.get(error.errno or 0, str(error))) from error
    return TCPStore(
        host,
        listening.getsockname()[1],
        world_size,
        is_master=True,
        timeout=timeout,
        wait_for_workers=is_waiting,
        master_listen_fd=listening.detach(),
    )


def join_store(
    host: str, port: int, timeout: timedelta, *, world_size: int | None = None
) -> TCPStore:
    """Join a store that another process opens.

    Args:
        host: Its machine.
        port: Its port.
        timeout: How long to wait for it, and for what the others write.
        world_size: How many there are, to wait for all of them; None: nobody is waited for.

    Raises:
        RuntimeError: Nobody answers.
    """
    is_waiting = world_size is not None
    return TCPStore(
        host, port, world_size, is_master=False, timeout=timeout, wait_for_workers=is_waiting
    )
