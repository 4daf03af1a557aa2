"""The keys of `runner: {_type_: ddp, ...}`, as plain data that travels to the processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from trainer_core.distributed.options import GroupOptions, is_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trainer_core.distributed.options import Fault
    from trainer_core.protocols import BatchReport, FileView

__all__ = ["Options", "check"]

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

    def faults(self) -> Iterator[Fault]:
        """Yield what no machine could do."""
        yield from super().faults()
        yield from self.no_choices(_CHOICES)
        if self.nproc_per_node != "auto" and not is_count(self.nproc_per_node, 1):
            what = f"nproc_per_node is 'auto' or at least 1, not {self.nproc_per_node!r}"
            yield ("nproc_per_node",), what
        yield from self.no_counts({"nnodes": 1, "max_restarts": 0})
        yield from self.no_times(("rdzv_timeout_s",))
        if self.nnodes > 1 and not self.rdzv_endpoint:
            what = f"nnodes: {self.nnodes} needs rdzv_endpoint, 'host:port' of one of the machines"
            yield ("nnodes",), what


def check(parameters: Mapping[str, Any], report: BatchReport, view: FileView) -> None:
    """Report what `trainer check` is to say of the runner's keys."""
    options = Options.read(parameters)
    options.report(report)
    options.report_components(report, view)
