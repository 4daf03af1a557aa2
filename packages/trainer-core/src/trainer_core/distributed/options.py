"""How the processes of a run work together, as plain data that travels to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, TypeAlias

from policy_constructor.spelling import did_you_mean, nearest
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from trainer_core.protocols import BatchReport, FileView

__all__ = ["Fault", "GroupOptions", "RunnerOptions", "is_count", "unwrappable"]

Fault: TypeAlias = "tuple[tuple[str, ...], str]"
"""Keys below the runner's, and what is wrong there."""

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
_LONGEST_S = 1e9


@dataclass(frozen=True)
class RunnerOptions:
    """The keys of a runner, and what is wrong with them: the same for a file and for a program."""

    runner: ClassVar[str]
    """Name of the runner, for messages."""

    @classmethod
    def read(cls, parameters: Mapping[str, Any]) -> Self:
        """Return the options that a file gives; null stands for the default."""
        return cls(**{key: value for key, value in parameters.items() if value is not None})

    def faults(self) -> Iterator[Fault]:
        """Yield what no machine could do."""
        yield from ()

    def report(self, report: BatchReport) -> None:
        """Tell `trainer check` of every fault."""
        for place, message in self.faults():
            report(("runner", *place), message)

    def require_valid(self) -> None:
        """Refuse what no machine could do.

        Raises:
            UserError: A value is out of its range; the message names the key.
        """
        for _, message in self.faults():
            self.refuse(message)

    def refuse(self, what: str) -> NoReturn:
        """Refuse the options.

        Raises:
            UserError: Always; it names the runner.
        """
        msg = f"runner {self.runner}: {what}"
        raise UserError(msg)

    def no_choices(self, choices: Mapping[str, tuple[str, ...]]) -> Iterator[Fault]:
        """Yield the values that are none of the known ones."""
        for key, known in choices.items():
            if getattr(self, key) not in known:
                yield (key,), f"{key} is {' or '.join(known)}, not {getattr(self, key)!r}"

    def no_counts(self, counts: Mapping[str, int]) -> Iterator[Fault]:
        """Yield what is no whole number from the least one of its key."""
        for key, least in counts.items():
            if not is_count(getattr(self, key), least):
                yield (key,), f"{key} is a number of at least {least}, not {getattr(self, key)!r}"

    def no_times(self, keys: tuple[str, ...]) -> Iterator[Fault]:
        """Yield what cannot be waited for, in seconds; None passes."""
        yield from self.not_positive(keys)
        for key in keys:
            value = getattr(self, key)
            if value is not None and value > _LONGEST_S:
                yield (key,), f"{key} is at most {_LONGEST_S:g} seconds, not {value!r}"

    def not_positive(self, keys: tuple[str, ...]) -> Iterator[Fault]:
        """Yield numbers that are not above zero; None passes."""
        for key in keys:
            value = getattr(self, key)
            if value is not None and not value > 0:
                yield (key,), f"{key} must be positive, not {value!r}"


@dataclass(frozen=True)
class GroupOptions(RunnerOptions):
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

    def faults(self) -> Iterator[Fault]:
        """Yield what no machine could do."""
        yield from super().faults()
        yield from self.no_choices(_CHOICES)
        yield from self.no_times(("timeout_s",))
        yield from self.not_positive(("bucket_cap_mb",))
        default, is_fsdp = type(self)(), self.strategy == "fsdp"
        of_other, other = (_OF_DDP, "ddp") if is_fsdp else (_OF_FSDP, "fsdp")
        for key in of_other:
            if getattr(self, key) != getattr(default, key):
                yield (key,), f"{key} is a key of strategy: {other}, and this is {self.strategy}"
        for component, patterns in self.fsdp_wrap.items():
            if not isinstance(patterns, list) or not patterns:
                what = f"fsdp_wrap.{component} is a list of patterns, not {patterns!r}"
                yield ("fsdp_wrap", component), what

    def report_components(self, report: BatchReport, view: FileView) -> None:
        """Tell `trainer check` of components that cannot be sharded."""
        sections = view.sections
        components = sections.get("models") or {"model": sections.get("model")}
        if self.strategy != "fsdp" or not isinstance(components, Mapping):
            return
        settings = {n: each if isinstance(each, Mapping) else {} for n, each in components.items()}
        trained = [name for name, given in settings.items() if not given.get("freeze")]
        for name in self.fsdp_wrap:
            if name not in trained:
                report(
                    ("runner", "fsdp_wrap", name), unwrappable(name, trained, settings), on="key"
                )

    def group_timeout_s(self, backend: str) -> float:
        """Return how long a rank waits for the others before it gives up, in seconds."""
        return _TIMEOUTS_S[backend] if self.timeout_s is None else self.timeout_s

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON data; the class takes `**data` back."""
        return asdict(self)


def unwrappable(name: str, trained: Iterable[str], known: Container[str]) -> str:
    """Return why `fsdp_wrap` cannot name a component that is not trained."""
    if name in known:
        return f"fsdp_wrap: {name!r} is frozen"
    return f"fsdp_wrap: {name!r} is no component{did_you_mean(nearest(name, trained))}"


def is_count(value: Any, least: int) -> bool:
    """Return whether a value is a whole number of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
