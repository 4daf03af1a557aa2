"""How the processes of a run find one another."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from torch.distributed import TCPStore  # type: ignore[attr-defined] # not in its __all__
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
)
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

if TYPE_CHECKING:
    from trainer_ddp.options import Options

__all__ = ["open_rendezvous"]

_HERE = "127.0.0.1"


def open_rendezvous(options: Options) -> tuple[RendezvousHandler, str | None]:
    """Return how the machines of a run meet, and this one's address if that is known."""
    if options.nnodes == 1 and not options.rdzv_endpoint:
        return _OneMachine(), _HERE
    parameters = RendezvousParameters(
        backend=options.rdzv_backend,
        endpoint=options.rdzv_endpoint,
        run_id=options.rdzv_id or "trainer",
        min_nodes=options.nnodes,
        max_nodes=options.nnodes,
        timeout=int(options.rdzv_timeout_s),
        join_timeout=int(options.rdzv_timeout_s),
    )
    return get_rendezvous_handler(parameters), None


class _OneMachine(RendezvousHandler):
    """Nobody to wait for. Each attempt has a store of its own, on a port that the system chose."""

    def __init__(self) -> None:
        self._run_id = uuid.uuid4().hex

    def get_backend(self) -> str:
        return "one-machine"

    @property
    def use_agent_store(self) -> bool:
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        store = TCPStore(_HERE, 0, is_master=True, wait_for_workers=False)
        return RendezvousInfo(store, 0, 1, RendezvousStoreInfo(_HERE, store.port))

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        """Nobody asks."""

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return self._run_id

    def shutdown(self) -> bool:
        return True
