"""The keys of `runner: {_type_: ray_online, ...}`, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

from trainer_core.distributed.options import is_count
from trainer_core.errors import UserError

__all__ = ["Options"]

_CHOICES = {"keep": ("successes", "all"), "sampling": ("uniform", "prioritized")}
_COUNTS = {
    "rollout_workers": 1,
    "offline_steps": 0,
    "min_frames": 1,
    "capacity": 1,
    "publish_every": 1,
    "prefetch": 2,
}
_SHARES = ("online_share", "target_success")
_POSITIVE = ("fill_timeout_s", "connect_timeout_s")


@dataclass(frozen=True)
class Options:
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
    prefetch: int = 2
    target_success: float | None = None
    replay_buffer: str = "replay_buffer"
    policy_state_manager: str = "policy_state_manager"
    address: str = ""
    connect_timeout_s: float = 60.0
    runtime_env: dict[str, Any] = field(default_factory=dict)

    def require_valid(self) -> None:
        """Refuse what no cluster could do.

        Raises:
            UserError: A value is out of its range; the message names the key.
        """
        for key, known in _CHOICES.items():
            if getattr(self, key) not in known:
                self.refuse(f"{key} is {' or '.join(known)}, not {getattr(self, key)!r}")
        for key, least in _COUNTS.items():
            if not is_count(getattr(self, key), least):
                self.refuse(f"{key} is a number of at least {least}, not {getattr(self, key)!r}")
        for key in _POSITIVE:
            if not getattr(self, key) > 0:
                self.refuse(f"{key} must be positive, not {getattr(self, key)!r}")
        for key in _SHARES:
            value = getattr(self, key)
            if value is not None and not 0 < value <= 1:
                self.refuse(f"{key} is above 0 and at most 1, not {value!r}")
        if self.priority_exponent < 0:
            self.refuse(f"priority_exponent is at least 0, not {self.priority_exponent!r}")
        self._require_agreement()

    def _require_agreement(self) -> None:
        """Refuse values that are right alone and not together."""
        if self.capacity < self.min_frames:
            self.refuse(
                f"min_frames: {self.min_frames} never come together in a capacity of "
                f"{self.capacity}"
            )
        names = (self.replay_buffer, self.policy_state_manager)
        if not all(names) or names[0] == names[1]:
            self.refuse(f"replay_buffer and policy_state_manager are two names, not {names!r}")

    def refuse(self, what: str) -> NoReturn:
        """Refuse the options.

        Raises:
            UserError: Always; it names the runner.
        """
        msg = f"runner {self.runner}: {what}"
        raise UserError(msg)
