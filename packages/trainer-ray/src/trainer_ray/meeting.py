"""Tells the workers of Ray Train where they meet, and leaves the meeting to them.

Ray itself would open torch's process group before the workers know the run: at an address that
other machines reach, and with Ray's patience.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.backend import Backend
from ray.train.torch import TorchConfig

__all__ = ["Meeting"]


@dataclass
class Meeting(TorchConfig):
    """The `torch_config` of a trainer whose workers open their process group themselves."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What Ray calls on the workers."""
        return _Appointment


class _Appointment(Backend):
    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Let every worker know where rank 0 is."""
        del backend_config
        address, port = worker_group.execute_single(0, _free_place)
        worker_group.execute(_remember, address, port)


def _free_place() -> tuple[str, int]:
    """Return the address of this machine and a port that nobody uses."""
    with socket.socket() as opened:
        opened.bind(("", 0))
        port: int = opened.getsockname()[1]
    return ray.util.get_node_ip_address(), port  # type: ignore[no-untyped-call] # Ray leaves it so


def _remember(address: str, port: int) -> None:
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = address, str(port)
