"""The processes of a run as the loop sees them; here the case of a single one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LocalRanks", "Ranks"]


class Ranks(Protocol):
    """Who this process is among the others, and what they do together.

    Every method but the properties is called by all ranks at the same point of the loop.
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

    def barrier(self) -> None:
        """Wait until every process is here."""
        ...

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over the processes."""
        ...

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        ...


class LocalRanks:
    """One process, alone."""

    rank = 0
    local_rank = 0
    world_size = 1
    is_main = True

    def barrier(self) -> None:
        """Return at once."""

    def sum(self, value: Tensor) -> Tensor:
        """Return the value."""
        return value

    def any(self, flag: bool) -> bool:
        """Return the flag."""
        return flag
