"""How the processes of a run find one another, and what is said when they do not."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch.distributed import TCPStore  # type: ignore[attr-defined] # not in its __all__
from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousError,
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    RendezvousTimeoutError,
)
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from trainer_core.distributed.waiting import LOOPBACK, within
from trainer_core.errors import MissingPackageError, TrainerError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer_ddp.options import Options

__all__ = ["OneMachine", "explained", "open_rendezvous"]

_HERE = LOOPBACK[0]
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
    is_local = options.rdzv_endpoint.rpartition(":")[0] in LOOPBACK
    limit = max(1, round(options.rdzv_timeout_s))
    parameters = RendezvousParameters(
        backend=options.rdzv_backend,
        endpoint=options.rdzv_endpoint,
        run_id=options.rdzv_id or "trainer",
        min_nodes=options.nnodes,
        max_nodes=options.nnodes,
        local_addr=_HERE if is_local else None,
        read_timeout=limit,
        join_timeout=limit,
    )
    try:
        with explained(options):
            handler = within(limit + _DELAY_S, lambda: get_rendezvous_handler(parameters))
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
    return handler, parameters.local_addr


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
        store = TCPStore(_HERE, 0, is_master=True, wait_for_workers=False)
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
