"""The keys of `runner: {_type_: ddp, ...}`, as plain data that travels to the processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from trainer_core.errors import UserError

__all__ = ["BACKENDS", "COMM_HOOKS", "DTYPES", "RDZV_BACKENDS", "STRATEGIES", "Options"]

BACKENDS = ("auto", "gloo", "nccl")
RDZV_BACKENDS = ("c10d", "etcd-v2")
COMM_HOOKS = ("none", "fp16", "bf16", "powersgd")
STRATEGIES = ("ddp", "fsdp")
DTYPES = ("fp32", "bf16")

_OF_DDP = ("static_graph", "gradient_as_bucket_view", "bucket_cap_mb", "comm_hook")
_OF_FSDP = (
    "fsdp_wrap",
    "fsdp_reshard_after_forward",
    "fsdp_param_dtype",
    "fsdp_reduce_dtype",
)
_TIMEOUTS_S = {"gloo": 120.0, "nccl": 600.0}


@dataclass(frozen=True)
class Options:
    """What the runner was given; see `trainer_ddp.runner.DDPRunner` for each."""

    nproc_per_node: int | str = "auto"
    nnodes: int = 1
    max_restarts: int = 0
    backend: str = "auto"
    timeout_s: float | None = None
    rdzv_backend: str = "c10d"
    rdzv_endpoint: str = ""
    rdzv_id: str = ""
    rdzv_timeout_s: float = 300.0
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
        choices = {
            "backend": BACKENDS,
            "rdzv_backend": RDZV_BACKENDS,
            "comm_hook": COMM_HOOKS,
            "strategy": STRATEGIES,
            "fsdp_param_dtype": DTYPES,
            "fsdp_reduce_dtype": DTYPES,
        }
        for key, known in choices.items():
            if getattr(self, key) not in known:
                _refuse(f"{key} is {' or '.join(known)}, not {getattr(self, key)!r}")
        if self.nproc_per_node != "auto" and not _is_count(self.nproc_per_node, 1):
            _refuse(f"nproc_per_node is 'auto' or at least 1, not {self.nproc_per_node!r}")
        for key, least in {"nnodes": 1, "max_restarts": 0}.items():
            if not _is_count(getattr(self, key), least):
                _refuse(f"{key} is a number of at least {least}, not {getattr(self, key)!r}")
        for key in ("timeout_s", "rdzv_timeout_s", "bucket_cap_mb"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                _refuse(f"{key} must be positive, not {value!r}")
        if self.nnodes > 1 and not self.rdzv_endpoint:
            _refuse(
                f"nnodes: {self.nnodes} needs rdzv_endpoint, 'host:port' of one of the machines"
            )
        self._require_strategy()

    def _require_strategy(self) -> None:
        """Refuse keys of the strategy that was not chosen."""
        of_other = _OF_DDP if self.strategy == "fsdp" else _OF_FSDP
        given = [key for key in of_other if getattr(self, key) != getattr(Options(), key)]
        if given:
            other = "ddp" if self.strategy == "fsdp" else "fsdp"
            _refuse(f"{given[0]} is a key of strategy: {other}, and this is {self.strategy}")
        for component, patterns in self.fsdp_wrap.items():
            if not isinstance(patterns, list) or not patterns:
                _refuse(f"fsdp_wrap.{component} is a list of patterns, not {patterns!r}")

    def group_timeout_s(self, backend: str) -> float:
        """Return how long a rank waits for the others before it gives up, in seconds."""
        return _TIMEOUTS_S[backend] if self.timeout_s is None else self.timeout_s

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON data; `Options(**data)` is the way back."""
        return asdict(self)


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _refuse(what: str) -> None:
    msg = f"runner ddp: {what}"
    raise UserError(msg)
