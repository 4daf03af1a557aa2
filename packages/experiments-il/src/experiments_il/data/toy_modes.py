"""A toy with several equally good ways and nothing to see: does a policy keep the ways apart?

Chunks of 8 points in a plane lead from (0, -1) to (0, 1). With two modes they pass one obstacle on
the left or on the right; with four, one after the other, two obstacles. The mean of the ways leads
through the obstacles.

Shapes: N chunks, K modes.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias

import torch

from experiments_il.data.toy_shapes import ACTION_DIM, HORIZON, STATE_DIM
from trainer_core.datasets import TensorDataset
from trainer_core.errors import UserError
from trainer_core.random import derive_seed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from policy_constructor.ranges import NonNegative, Positive
    from trainer_core.protocols import Batch

__all__ = ["ModeShares", "ToyModes", "mode_of", "mode_paths", "share_modes"]

Modes: TypeAlias = Literal[2, 4]
"""How many ways there are."""

_PASSAGES = {2: ((3, 4),), 4: ((1, 2), (5, 6))}  # points beside an obstacle
_DISTANCE = {2: 1.0, 4: 0.88}  # of these points from the middle, on average
_TOLERANCE = 0.2


class ModeShares(NamedTuple):
    """How chunks are spread over the modes.

    Attributes:
        shares: Share of each mode in all chunks, in the order of `mode_paths`.
        off_mode: Share of chunks that take no way.
        entropy: Of the modes among chunks that take one, divided by `log K`: 1 if all are taken
            alike, 0 if one is or none.
    """

    shares: tuple[float, ...]
    off_mode: float
    entropy: float


def mode_paths(modes: Modes) -> Tensor:
    """Return the ways without noise, `(K, 8, 2)`; left before right, the first obstacle first."""
    along = torch.linspace(0, 1, HORIZON)
    y = 2 * along - 1
    paths = []
    for sides in _sides(modes):
        if modes == 2:
            x = sides[0] * torch.sin(math.pi * along)
        else:
            side = torch.where(along < 0.5, sides[0], sides[1])
            x = side * torch.sin(2 * math.pi * along).abs()
        paths.append(torch.stack([x, y], dim=-1))
    return torch.stack(paths)


def mode_of(chunks: Tensor, modes: Modes) -> Tensor:
    """Return the number of the way that each chunk takes, int64 `(N,)`; -1: none.

    A chunk takes a way if beside each obstacle it is within 0.2 of where the way passes it.

    Args:
        chunks: `(N, 8, 2)`.
        modes: How many ways there are.
    """
    across = [chunks[:, list(points), 0].mean(dim=1) for points in _PASSAGES[modes]]
    centers = _DISTANCE[modes] * torch.tensor(_sides(modes)).to(chunks)
    away = (torch.stack(across, dim=-1).unsqueeze(1) - centers).abs().amax(dim=-1)
    nearest = away.min(dim=1)
    return torch.where(nearest.values < _TOLERANCE, nearest.indices, -1)


def share_modes(found: Tensor, modes: int) -> ModeShares:
    """Return how chunks are spread over the ways.

    Args:
        found: Numbers of the ways, int64 `(N,)`; -1: none.
        modes: How many ways there are.
    """
    counts = torch.bincount(found[found >= 0], minlength=modes).double()
    among = counts / counts.sum().clamp(min=1)
    entropy = -(among * among.clamp(min=1e-12).log()).sum() / math.log(modes)
    shares = counts / max(1, len(found))
    return ModeShares(tuple(shares.tolist()), 1 - float(shares.sum()), abs(float(entropy)))


class ToyModes:
    """Chunks that pass obstacles on the left or on the right; nothing observed tells on which side.

    Batches have `action` `(B, 8, 2)`, `observation.state` `(B, 1, 1)`, which is zero, and `index`.
    With two modes `x_h = +-sin(pi h / 7)`, with four `x_h = +-|sin(2 pi h / 7)|` whose halves have
    signs of their own; `y_h = 2 h / 7 - 1`. Nothing is normalised.

    Args:
        modes: How many ways there are, 2 or 4.
        size: Chunks.
        noise: Standard deviation of the noise on each number.
        seed: Seed of the chunks; not the run's seed.

    Raises:
        UserError: There is no such toy, or a number is out of its range.
    """

    batch_keys: ClassVar = "experiments_il.data.toy_shapes:describe"

    def __init__(
        self,
        modes: Modes = 2,
        size: Positive = 20_000,
        noise: NonNegative = 0.03,
        seed: int = 0,
    ) -> None:
        check_modes(modes, "data")
        if size < 1 or noise < 0:
            message = f"data.size must be at least 1 and data.noise 0, got {size} and {noise}"
            raise UserError(message)
        self.modes = modes
        self.size = size
        self.noise = noise
        self.seed = seed

    def describe_batch(self, size: int) -> Batch:
        """Return a batch without numbers, for the check of shapes."""
        return {
            "observation.state": torch.empty(size, 1, STATE_DIM, device="meta"),
            "action": torch.empty(size, HORIZON, ACTION_DIM, device="meta"),
            "index": torch.empty(size, dtype=torch.int64, device="meta"),
        }

    def build(self, opt_params: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the data set; there is nothing to normalise."""
        del opt_params, params
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "toy modes"))
        chosen = torch.randint(self.modes, (self.size,), generator=generator)
        noise = torch.randn(self.size, HORIZON, ACTION_DIM, generator=generator)
        columns = {
            "observation.state": torch.zeros(self.size, 1, STATE_DIM),
            "action": mode_paths(self.modes)[chosen] + self.noise * noise,
            "index": torch.arange(self.size),
        }
        return {"dataset": TensorDataset(columns), "norm_stats": {}}


def check_modes(modes: int, section: str) -> None:
    """Check that there is a toy of this many modes.

    Raises:
        UserError: There is none.
    """
    if modes not in _PASSAGES:
        known = " or ".join(map(str, _PASSAGES))
        message = f"{section}.modes must be {known}, got {modes}"
        raise UserError(message)


def _sides(modes: int) -> list[tuple[float, ...]]:
    return list(itertools.product((-1.0, 1.0), repeat=len(_PASSAGES[modes])))
