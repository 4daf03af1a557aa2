"""The processes of a run as the loop sees them; here the case of a single one."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

__all__ = ["LocalRanks", "Ranks"]

Losses = TypeVar("Losses")
Json = TypeVar("Json")


class Ranks(Protocol):
    """Who this process is among the others, and what they do together.

    Every method is called by all ranks at the same point of the loop, in the same order.
    """

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        ...

    @property
    def local_rank(self) -> int:
        """Number of this process on its machine, from 0."""
        ...

    @property
    def world_size(self) -> int:
        """Number of processes."""
        ...

    @property
    def is_main(self) -> bool:
        """Whether this process logs and writes."""
        ...

    @property
    def timeout_s(self) -> float | None:
        """How long a process waits for the others where all do the same; None: for ever."""
        ...

    @property
    def is_waiting(self) -> bool:
        """Whether this process waits for what rank 0 does alone, which may take any time."""
        ...

    @property
    def is_sharded(self) -> bool:
        """Whether each process has only a part of the trained weights, as a DTensor."""
        ...

    def barrier(self) -> None:
        """Wait until every process is here."""
        ...

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over the processes, on every one of them."""
        ...

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        ...

    def any_lately(self, flag: bool) -> bool:
        """Return whether the flag was set in any process at the call before this one.

        The answer is under way while the processes compute: nobody waits for it, and it is the
        same on every rank. Alone, a process gets the flag it hands in.
        """
        ...

    def gather(self, value: Json) -> list[Json]:
        """Return everyone's value, JSON data, in the order of the ranks."""
        ...

    def on_main(self, action: Callable[[], Json]) -> Json:
        """Run an action on rank 0 and return its result, JSON data, on every rank.

        The others wait as long as it takes. An error of the action is raised on all of them.
        """
        ...

    def prepare(self, models: nn.ModuleDict) -> nn.ModuleDict:
        """Change what must be changed in models of several processes, before they are moved."""
        ...

    def shard(self, models: nn.ModuleDict) -> None:
        """Leave each process a part of the trained components, if that is how they train.

        Called when the models are on their device, before optimizers have their parameters.
        """
        ...

    def whole(self) -> AbstractContextManager[object]:
        """Return a context in which every process has the whole weights and can use them alone.

        Changes of the weights in it are lost.
        """
        ...

    def parallelize(
        self, models: nn.ModuleDict, losses: Callable[..., Losses]
    ) -> Callable[..., Losses]:
        """Return `losses` such that a backward pass gives everyone the mean of the gradients.

        Args:
            models: The components whose gradients are meant; frozen ones are left alone.
            losses: Returns a scalar to go backward from, and detached metrics.
        """
        ...

    def average_gradients(self, models: nn.ModuleDict) -> None:
        """Give everyone the mean of the gradients after each backward pass, whoever calls it.

        For trainers that own their whole step.
        """
        ...

    def accumulate(self) -> AbstractContextManager[object]:
        """Return a context in which gradients stay with their process, for all but the last one."""
        ...


class LocalRanks:
    """One process, alone."""

    rank = 0
    local_rank = 0
    world_size = 1
    is_main = True
    timeout_s: float | None = None
    is_waiting = False
    is_sharded = False

    def barrier(self) -> None:
        """Return at once."""

    def sum(self, value: Tensor) -> Tensor:
        """Return the value."""
        return value

    def any(self, flag: bool) -> bool:
        """Return the flag."""
        return flag

    def any_lately(self, flag: bool) -> bool:
        """Return the flag."""
        return flag

    def gather(self, value: Any) -> list[Any]:
        """Return the value in a list."""
        return [value]

    def on_main(self, action: Callable[[], Json]) -> Json:
        """Run the action."""
        return action()

    def prepare(self, models: nn.ModuleDict) -> nn.ModuleDict:
        """Return the models as they are."""
        return models

    def shard(self, models: nn.ModuleDict) -> None:
        """Leave the models whole."""

    def whole(self) -> AbstractContextManager[object]:
        """Return a context that does nothing: they are whole."""
        return nullcontext()

    def parallelize(
        self, models: nn.ModuleDict, losses: Callable[..., Losses]
    ) -> Callable[..., Losses]:
        """Return `losses` itself."""
        del models
        return losses

    def average_gradients(self, models: nn.ModuleDict) -> None:
        """Leave them: they are the mean already."""

    def accumulate(self) -> AbstractContextManager[object]:
        """Return a context that does nothing."""
        return nullcontext()
