"""The keys of `runner: {_type_: ray, ...}`, as plain data that travels to the workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from trainer_core.distributed.options import GroupOptions, is_count

__all__ = ["Options"]

_CHOICES = {"placement": ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")}


@dataclass(frozen=True)
class Options(GroupOptions):
    """What the runner was given; see `trainer_ray.runner.RayRunner` for each."""

    runner: ClassVar[str] = "ray"

    num_workers: int = 1
    resources_per_worker: dict[str, float] = field(default_factory=lambda: {"CPU": 1.0})
    use_gpu: bool = False
    placement: str = "PACK"
    address: str = ""
    connect_timeout_s: float = 60.0
    runtime_env: dict[str, Any] = field(default_factory=dict)
    max_failures: int = 0
    rejoin_timeout_s: float = 60.0
    storage: str = ""

    def require_valid(self) -> None:
        """Refuse what no cluster could do.

        Raises:
            UserError: A value is out of its range; the message names the key.
        """
        super().require_valid()
        self.require_choices(_CHOICES)
        for key, least in {"num_workers": 1, "max_failures": 0}.items():
            if not is_count(getattr(self, key), least):
                self.refuse(f"{key} is a number of at least {least}, not {getattr(self, key)!r}")
        self.require_positive(("connect_timeout_s", "rejoin_timeout_s"))
        for name, amount in self.resources_per_worker.items():
            if isinstance(amount, bool) or not isinstance(amount, int | float) or amount < 0:
                self.refuse(f"resources_per_worker.{name} is a number, not {amount!r}")
        if self.strategy == "fsdp" and self.num_workers == 1:
            self.refuse("strategy: fsdp needs at least two workers")

    @property
    def resources(self) -> dict[str, float]:
        """What one worker takes."""
        gpu = {"GPU": 1.0} if self.use_gpu else {}
        given = {name: float(amount) for name, amount in self.resources_per_worker.items()}
        return {name: amount for name, amount in {**gpu, **given}.items() if amount}
