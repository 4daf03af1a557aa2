"""The keys of `runner: {_type_: ddp, ...}`, as plain data that travels to the processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainer_core.distributed.options import GroupOptions, is_count

__all__ = ["Options"]

_CHOICES = {"rdzv_backend": ("c10d", "etcd-v2")}


@dataclass(frozen=True)
class Options(GroupOptions):
    """What the runner was given; see `trainer_ddp.runner.DDPRunner` for each."""

    runner: ClassVar[str] = "ddp"

    nproc_per_node: int | str = "auto"
    nnodes: int = 1
    max_restarts: int = 0
    rdzv_backend: str = "c10d"
    rdzv_endpoint: str = ""
    rdzv_id: str = ""
    rdzv_timeout_s: float = 300.0

    def require_valid(self) -> None:
        """Refuse what no machine could do.

        Raises:
            UserError: A value is out of its range; the message names the key.
        """
        super().require_valid()
        self.require_choices(_CHOICES)
        if self.nproc_per_node != "auto" and not is_count(self.nproc_per_node, 1):
            self.refuse(f"nproc_per_node is 'auto' or at least 1, not {self.nproc_per_node!r}")
        for key, least in {"nnodes": 1, "max_restarts": 0}.items():
            if not is_count(getattr(self, key), least):
                self.refuse(f"{key} is a number of at least {least}, not {getattr(self, key)!r}")
        self.require_positive(("rdzv_timeout_s",))
        if self.nnodes > 1 and not self.rdzv_endpoint:
            self.refuse(
                f"nnodes: {self.nnodes} needs rdzv_endpoint, 'host:port' of one of the machines"
            )
