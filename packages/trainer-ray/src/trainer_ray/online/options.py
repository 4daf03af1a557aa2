"""The keys of `runner: {_type_: ray_online, ...}`, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from trainer_ray.connecting import ClusterOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer_core.distributed.options import Fault

__all__ = ["Options"]

_CHOICES = {
    "acting_weights": ("trained", "averaged"),
    "keep": ("successes", "all"),
    "sampling": ("uniform", "prioritized"),
}
_COUNTS = {
    "rollout_workers": 1,
    "offline_steps": 0,
    "min_frames": 1,
    "capacity": 1,
    "publish_every": 1,
    "prefetch": 2,
}
_SHARES = ("online_share", "target_success")
_MOST_PREFETCHED = 1000


@dataclass(frozen=True)
class Options(ClusterOptions):
    """What the runner was given; see `trainer_ray.online.runner.RayOnlineRunner` for each."""

    runner: ClassVar[str] = "ray_online"

    rollout_workers: int = 1
    rollout: dict[str, Any] = field(default_factory=dict)
    online_share: float = 0.5
    offline_steps: int = 0
    min_frames: int = 1000
    fill_timeout_s: float = 600.0
    capacity: int = 1_000_000
    keep: str = "successes"
    sampling: str = "uniform"
    priority_exponent: float = 0.6
    publish_every: int = 50
    acting_weights: str = "trained"
    prefetch: int = 2
    target_success: float | None = None
    replay_buffer: str = "replay_buffer"
    policy_state_manager: str = "policy_state_manager"

    def faults(self) -> Iterator[Fault]:
        """Yield what no cluster could do."""
        yield from super().faults()
        yield from self.no_choices(_CHOICES)
        yield from self.no_counts(_COUNTS)
        yield from self.no_times(("fill_timeout_s",))
        for key in _SHARES:
            value = getattr(self, key)
            if value is not None and not 0 < value <= 1:
                yield (key,), f"{key} is above 0 and at most 1, not {value!r}"
        if not 0 <= self.priority_exponent < float("inf"):
            what = f"priority_exponent is at least 0 and finite, not {self.priority_exponent!r}"
            yield ("priority_exponent",), what
        if self.prefetch > _MOST_PREFETCHED:
            yield ("prefetch",), f"prefetch is at most {_MOST_PREFETCHED}, not {self.prefetch}"
        yield from self._disagreements()

    def _disagreements(self) -> Iterator[Fault]:
        """Yield values that are right alone and not together."""
        if self.capacity < self.min_frames:
            what = (
                f"min_frames: {self.min_frames} never come together in a capacity of "
                f"{self.capacity}"
            )
            is_given = self.min_frames != Options.min_frames
            yield ("min_frames" if is_given else "capacity",), what
        names = (self.replay_buffer, self.policy_state_manager)
        if not all(names) or names[0] == names[1]:
            what = f"replay_buffer and policy_state_manager are two names, not {names!r}"
            yield ("replay_buffer" if names[1] else "policy_state_manager",), what
        if self.runtime_env.get("pip") == "auto":
            what = "pip: auto is of the runner ray; name the packages that rollout workers need"
            yield ("runtime_env", "pip"), what
