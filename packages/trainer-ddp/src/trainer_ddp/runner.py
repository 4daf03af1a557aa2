"""The `ddp` runner: declared, so that its name is known; its processes come in a later version."""

from __future__ import annotations

from typing import Any, NoReturn

from trainer_core.errors import UserError

__all__ = ["DDPRunner"]


class DDPRunner:
    """Run one process per device under torch.distributed. Not available in this version.

    Args:
        nproc_per_node: Processes on this machine.

    Raises:
        UserError: Always, when the run starts.
    """

    def __init__(self, *, nproc_per_node: int = 1) -> None:
        self.nproc_per_node = nproc_per_node

    def run(self, experiment: Any) -> NoReturn:
        """Refuse to run, naming what works instead."""
        del experiment
        message = (
            "the runner 'ddp' is not available yet in trainer-ddp 0.1.0; "
            "use 'runner: {_type_: local}' or '--runner local'"
        )
        raise UserError(message)
