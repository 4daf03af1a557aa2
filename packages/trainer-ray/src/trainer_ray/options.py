"""The keys of `runner: {_type_: ray, ...}`, as plain data that travels to the workers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from trainer_core.distributed.options import GroupOptions
from trainer_ray.connecting import ClusterOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trainer_core.distributed.options import Fault
    from trainer_core.protocols import BatchReport, FileView

__all__ = ["Options", "check"]

_CHOICES = {"placement": ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")}
_FINEST = 0.0001
"""The smallest share of a resource that Ray counts."""


@dataclass(frozen=True)
class Options(GroupOptions, ClusterOptions):
    """What the runner was given; see `trainer_ray.runner.RayRunner` for each."""

    runner: ClassVar[str] = "ray"

    num_workers: int = 1
    resources_per_worker: dict[str, float] = field(default_factory=lambda: {"CPU": 1.0})
    use_gpu: bool = False
    placement: str = "PACK"
    max_failures: int = 0
    rejoin_timeout_s: float = 60.0
    storage: str = ""

    def faults(self) -> Iterator[Fault]:
        """Yield what no cluster could do."""
        yield from super().faults()
        yield from self.no_choices(_CHOICES)
        yield from self.no_counts({"num_workers": 1, "max_failures": 0})
        yield from self.no_times(("rejoin_timeout_s",))
        yield from self._wrong_amounts()
        if self.strategy == "fsdp" and self.num_workers == 1:
            yield ("strategy",), "strategy: fsdp needs at least two workers"
        if self.backend == "nccl" and not self.use_gpu:
            yield ("backend",), "backend: nccl needs use_gpu: true"
        yield from _unknown_storage(self.storage)

    def _wrong_amounts(self) -> Iterator[Fault]:
        """Yield what no worker can take of a machine."""
        key, is_number = "resources_per_worker", True
        for name, amount in self.resources_per_worker.items():
            if isinstance(amount, bool) or not isinstance(amount, int | float):
                is_number = False
                yield (key, name), f"{key}.{name} is a number, not {amount!r}"
            elif not 0 <= amount < math.inf or 0 < amount < _FINEST:
                is_number = False
                what = f"{key}.{name} is 0 or at least {_FINEST:g}, not {amount!r}"
                yield (key, name), what
        if is_number:
            yield from self._wrong_devices()

    def _wrong_devices(self) -> Iterator[Fault]:
        key, given = "resources_per_worker", self.resources_per_worker
        gpus = given.get("GPU")
        if self.use_gpu and gpus == 0:
            yield (key, "GPU"), f"use_gpu: true takes a GPU, and {key}.GPU is 0"
        elif gpus and not self.use_gpu:
            yield (key, "GPU"), f"{key}.GPU: {gpus:g} needs use_gpu: true"
        elif gpus and gpus > 1 and gpus != int(gpus):
            yield (key, "GPU"), f"{key}.GPU above 1 is a whole number, not {gpus!r}"
        if given.get("TPU"):
            yield (key, "TPU"), "the runner ray trains on CPUs and CUDA devices, on no TPU"
        if not self.resources and not self.use_gpu:
            yield (key,), f"a worker takes something of its machine: {key}.CPU is positive"

    @property
    def resources(self) -> dict[str, float]:
        """What one worker takes."""
        gpu = {"GPU": 1.0} if self.use_gpu else {}
        given = {name: float(amount) for name, amount in self.resources_per_worker.items()}
        return {name: amount for name, amount in {**gpu, **given}.items() if amount}


def check(parameters: Mapping[str, Any], report: BatchReport, view: FileView) -> None:
    """Report what `trainer check` is to say of the runner's keys."""
    options = Options.read(parameters)
    options.report(report)
    options.report_components(report, view)


def _unknown_storage(url: str) -> Iterator[Fault]:
    """Yield a scheme that fsspec has never heard of; what it lacks a package for, the run says."""
    scheme, found, _ = url.partition("://")
    if not found:
        return
    try:
        registry: Any = import_module("fsspec.registry")
    except ImportError:
        return
    if scheme not in {*registry.known_implementations, *registry.registry}:
        reason = f"Protocol not known: {scheme}"
        what = f"storage: {url!r} is no folder and no URL that fsspec knows: {reason}"
        yield ("storage",), what
