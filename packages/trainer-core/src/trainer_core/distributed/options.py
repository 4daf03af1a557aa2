"""How the processes of a run work together, as plain data that travels to them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GroupOptions", "is_count"]

_CHOICES = {
    "backend": ("auto", "gloo", "nccl"),
    "comm_hook": ("none", "fp16", "bf16", "powersgd"),
    "strategy": ("ddp", "fsdp"),
    "fsdp_param_dtype": ("fp32", "bf16"),
    "fsdp_reduce_dtype": ("fp32", "bf16"),
}
_OF_DDP = ("static_graph", "gradient_as_bucket_view", "bucket_cap_mb", "comm_hook")
_OF_FSDP = (
    "fsdp_wrap",
    "fsdp_reshard_after_forward",
    "fsdp_param_dtype",
    "fsdp_reduce_dtype",
)
_TIMEOUTS_S = {"gloo": 120.0, "nccl": 600.0}


@dataclass(frozen=True)
class GroupOptions:
    """What does not depend on who started the processes.

    Attributes:
        backend: `gloo` (CPU), `nccl` (CUDA), or `auto`.
        timeout_s: How long a rank waits for the others, in seconds. None: 120 with gloo, 600 with
            nccl.
        strategy: `ddp`: every process has the whole model; `fsdp`: each has a part.
        find_unused_parameters: Some parameters get no gradient in some steps.
        static_graph: The same parameters get gradients in every step.
        gradient_as_bucket_view: Gradients share the memory that is sent.
        bucket_cap_mb: Size of the parts that gradients are sent in, in MiB.
        comm_hook: Compress what is sent: `none`, `fp16`, `bf16` or `powersgd`.
        sync_batch_norm: Batch norm in trained components sees the samples of all ranks.
        fsdp_wrap: For a component, which of its modules are gathered one by one.
        fsdp_reshard_after_forward: These are freed after their forward pass.
        fsdp_param_dtype: What components compute with, `fp32` or `bf16`.
        fsdp_reduce_dtype: What gradients are sent and averaged in, `fp32` or `bf16`.
    """

    runner: ClassVar[str]
    """Name of the runner, for messages."""

    backend: str = "auto"
    timeout_s: float | None = None
    strategy: str = "ddp"
    find_unused_parameters: bool = False
    static_graph: bool = False
    gradient_as_bucket_view: bool = True
    bucket_cap_mb: float = 25.0
    comm_hook: str = "none"
    sync_batch_norm: bool = True
    fsdp_wrap: dict[str, list[str]] = field(default_factory=dict)
    fsdp_reshard_after_forward: bool = True
    fsdp_param_dtype: str = "fp32"
    fsdp_reduce_dtype: str = "fp32"

    def require_valid(self) -> None:
        """Refuse what no machine could do.

        Raises:
            UserError: A value is out of its range; the message names the key.
        """
        self.require_choices(_CHOICES)
        self.require_positive(("timeout_s", "bucket_cap_mb"))
        of_other = _OF_DDP if self.strategy == "fsdp" else _OF_FSDP
        given = [key for key in of_other if getattr(self, key) != getattr(type(self)(), key)]
        if given:
            other = "ddp" if self.strategy == "fsdp" else "fsdp"
            self.refuse(f"{given[0]} is a key of strategy: {other}, and this is {self.strategy}")
        for component, patterns in self.fsdp_wrap.items():
            if not isinstance(patterns, list) or not patterns:
                self.refuse(f"fsdp_wrap.{component} is a list of patterns, not {patterns!r}")

    def require_choices(self, choices: Mapping[str, tuple[str, ...]]) -> None:
        """Refuse a value that is none of the known ones."""
        for key, known in choices.items():
            if getattr(self, key) not in known:
                self.refuse(f"{key} is {' or '.join(known)}, not {getattr(self, key)!r}")

    def require_positive(self, keys: tuple[str, ...]) -> None:
        """Refuse numbers that are not above zero; None passes."""
        for key in keys:
            value = getattr(self, key)
            if value is not None and not value > 0:
                self.refuse(f"{key} must be positive, not {value!r}")

    def refuse(self, what: str) -> NoReturn:
        """Refuse the options.

        Raises:
            UserError: Always; it names the runner.
        """
        msg = f"runner {self.runner}: {what}"
        raise UserError(msg)

    def group_timeout_s(self, backend: str) -> float:
        """Return how long a rank waits for the others before it gives up, in seconds."""
        return _TIMEOUTS_S[backend] if self.timeout_s is None else self.timeout_s

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON data; the class takes `**data` back."""
        return asdict(self)


def is_count(value: Any, least: int) -> bool:
    """Return whether a value is a whole number of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
