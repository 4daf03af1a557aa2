"""Which address of this machine others reach it at, and what interface has it.

The name of a machine is no help: of itself it often knows none, or one of the loopback interface.
"""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

from trainer_core.distributed.waiting import LOOPBACK

__all__ = ["address_to_listen_at", "address_towards", "interface_of", "is_here", "listen"]

_ANY_PORT = 9
_FAR_AWAY = "192.0.2.1"  # kept free for examples: the way there is the way out (RFC 5737)
_SIOCGIFADDR = 0x8915
_IPV6_INTERFACES = Path("/proc/net/if_inet6")


def address_towards(host: str) -> str | None:
    """Return the address that this machine has for another one; nothing is sent.

    Args:
        host: The other machine, or a name of this one: then, the address for all the world.

    Returns:
        None if there is none but on the loopback interface.
    """
    for target in (host, _FAR_AWAY):
        with suppress(OSError):
            family, kind, _, _, place = socket.getaddrinfo(
                target, _ANY_PORT, type=socket.SOCK_DGRAM
            )[0]
            with socket.socket(family, kind) as way:
                way.connect(place)
                found: str = way.getsockname()[0]
            if not ipaddress.ip_address(found).is_loopback:
                return found
    return None


def is_here(host: str) -> bool:
    """Return whether a name or an address is one of this machine."""
    try:
        with listen(_resolve(host), 0, 1):
            return True
    except OSError:
        return False


def address_to_listen_at(host: str) -> str | None:
    """Return the one address at which others look for this machine under a name.

    Returns:
        A loopback address for a name of that; else None if the name is of another machine, or one
        that only this machine takes for itself.
    """
    if not is_here(host):
        return None
    found = _resolve(host)
    return None if ipaddress.ip_address(found).is_loopback and host not in LOOPBACK else found


def listen(address: str, port: int, backlog: int) -> socket.socket:
    """Listen at one address.

    Args:
        address: Of this machine.
        port: 0: one that is free.
        backlog: How many may wait to be let in.

    Raises:
        OSError: Another program has the port.
    """
    return socket.create_server((address, port), family=_family(address), backlog=backlog)


def interface_of(address: str) -> str | None:
    """Return the name of the interface that has an address; None where that cannot be told."""
    if sys.platform != "linux":
        return None
    if _family(address) == socket.AF_INET6:
        return _interface_of_ipv6(address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode())
            with suppress(OSError):  # it has no address
                answer = fcntl.ioctl(asked, _SIOCGIFADDR, request)
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return None


def _resolve(host: str) -> str:
    return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])


def _interface_of_ipv6(address: str) -> str | None:
    wanted = ipaddress.ip_address(address).packed.hex()
    with suppress(OSError):
        for line in _IPV6_INTERFACES.read_text().splitlines():
            found, *_, name = line.split()
            if found == wanted:
                return name
    return None


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
