"""One process among those of a run."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Place"]


@dataclass(frozen=True)
class Place:
    """One process among those of a run.

    Attributes:
        rank: Its number, from 0.
        local_rank: Its number on its machine, from 0.
        world_size: How many there are.
        local_world_size: How many there are on this machine.
        master_addr: Where the processes meet.
        master_port: The port of that.
        attempt: How often the processes were started again.
    """

    rank: int
    local_rank: int
    world_size: int
    local_world_size: int
    master_addr: str
    master_port: int
    attempt: int = 0

    def to_environment(self) -> dict[str, str]:
        """Return the variables that torch.distributed reads."""
        return {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local_rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_WORLD_SIZE": str(self.local_world_size),
            "MASTER_ADDR": self.master_addr,
            "MASTER_PORT": str(self.master_port),
        }
