"""How the processes of a run find one another, and what is said when they do not."""

from __future__ import annotations

import uuid
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousError,
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    RendezvousTimeoutError,
)
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import C10dRendezvousBackend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import (
    DynamicRendezvousHandler,
    RendezvousTimeout,
)
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler
from torch.distributed.elastic.rendezvous.utils import parse_rendezvous_endpoint

from trainer_core.distributed.addresses import address_towards, is_here
from trainer_core.distributed.stores import join_store, serve_store
from trainer_core.distributed.waiting import LOOPBACK, within
from trainer_core.errors import MissingPackageError, TrainerError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.distributed import TCPStore  # type: ignore[attr-defined] # not in its __all__

    from trainer_ddp.options import Options

__all__ = ["OneMachine", "explained", "open_rendezvous"]

_HERE = LOOPBACK[0]
_PORT = 29400
_DELAY_S = 5.0
"""What is granted beyond a limit, so that torch can say more than that it took too long."""


def open_rendezvous(options: Options) -> tuple[RendezvousHandler, str | None]:
    """Return how the machines of a run meet, and this one's address if that is known.

    Raises:
        MissingPackageError: The backend needs a package that is not there.
        UserError: The endpoint is no address, or its port belongs to another program.
        TrainerError: Nobody answers.
    """
    if options.nnodes == 1 and not options.rdzv_endpoint:
        return OneMachine(), _HERE
    limit = max(1, round(options.rdzv_timeout_s))
    try:
        with explained(options):
            return within(limit + _DELAY_S, lambda: _open(options, limit))
    except ImportError as exc:
        need = f"runner ddp with rdzv_backend {options.rdzv_backend}"
        raise MissingPackageError(need, "python-etcd") from exc
    except ValueError as exc:
        msg = f"runner ddp: rdzv_endpoint is 'host:port'; {options.rdzv_endpoint!r} is not: {exc}"
        raise UserError(msg) from exc
    except TimeoutError as exc:
        msg = (
            f"runner ddp: what is at {options.rdzv_endpoint} does not answer; rdzv_endpoint has to "
            "name a free port of one of the machines"
        )
        raise UserError(msg) from exc


def _open(options: Options, limit: int) -> tuple[RendezvousHandler, str | None]:
    host, port = parse_rendezvous_endpoint(options.rdzv_endpoint, _PORT)
    address = _HERE if host in LOOPBACK else address_towards(host)
    run_id = options.rdzv_id or "trainer"
    if options.rdzv_backend == "c10d":
        return _meet(host, port, run_id, options.nnodes, address, timedelta(seconds=limit)), address
    parameters = RendezvousParameters(
        backend=options.rdzv_backend,
        endpoint=options.rdzv_endpoint,
        run_id=run_id,
        min_nodes=options.nnodes,
        max_nodes=options.nnodes,
        local_addr=address,
        read_timeout=limit,
        join_timeout=limit,
    )
    return get_rendezvous_handler(parameters), address


def _meet(
    host: str, port: int, run_id: str, nnodes: int, address: str | None, limit: timedelta
) -> RendezvousHandler:
    """Meet at a store of torch, which one of the machines has."""
    try:
        store = _serve_or_join(host, port, limit)
    except (RuntimeError, ValueError) as exc:
        msg = "the store cannot be joined"
        raise RendezvousConnectionError(msg) from exc
    backend = C10dRendezvousBackend(store, run_id)
    timeout = RendezvousTimeout(join=limit)
    found: RendezvousHandler = _Machines.from_backend(
        run_id, store, backend, nnodes, nnodes, address, timeout
    )
    return found


def _serve_or_join(host: str, port: int, limit: timedelta) -> TCPStore:
    if is_here(host):
        with suppress(RuntimeError):  # another launcher of this machine has the port
            return serve_store(host, port, limit)
    return join_store(host, port, limit)


class _Machines(DynamicRendezvousHandler):
    """torch's, but that the store of the ranks listens where the machines meet."""

    def _create_tcp_store_server(self, master_addr: str, master_port: int) -> TCPStore:
        return serve_store(master_addr, master_port)


@contextmanager
def explained(options: Options) -> Iterator[None]:
    """Say in the user's words why machines did not meet.

    Raises:
        TrainerError: Nobody answers, too few machines came, or one of them ended the run.
    """
    where = options.rdzv_endpoint
    try:
        yield
    except RendezvousTimeoutError as exc:
        msg = (
            f"runner ddp: fewer than {options.nnodes} machines came to {where} within "
            f"{options.rdzv_timeout_s:g} s; the same command has to run on each of them"
        )
        raise TrainerError(msg) from exc
    except RendezvousClosedError as exc:
        msg = "runner ddp: another machine has ended the run; its own message says why"
        raise TrainerError(msg) from exc
    except RendezvousError as exc:
        reason = (str(exc.__cause__ or exc) or type(exc).__name__).strip().splitlines()[0]
        msg = f"runner ddp: the other machines cannot be reached at {where}: {reason}"
        raise TrainerError(msg) from exc


class OneMachine(RendezvousHandler):
    """Nobody to wait for. Each attempt has a store of its own, on a port that the system chose."""

    def __init__(self) -> None:
        self._run_id = uuid.uuid4().hex

    def get_backend(self) -> str:
        """Return a name for torch's records."""
        return "one-machine"

    @property
    def use_agent_store(self) -> bool:
        """Whether the processes use the store of this process."""
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        """Open a new store."""
        store = serve_store(_HERE, 0)
        return RendezvousInfo(store, 0, 1, RendezvousStoreInfo(_HERE, store.port))

    def is_closed(self) -> bool:
        """Nobody closes it."""
        return False

    def set_closed(self) -> None:
        """Nobody asks."""

    def num_nodes_waiting(self) -> int:
        """Return how many machines would join."""
        return 0

    def get_run_id(self) -> str:
        """Return a name that no other run has."""
        return self._run_id

    def shutdown(self) -> bool:
        """Return whether it is closed."""
        return True
