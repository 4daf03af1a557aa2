"""Random numbers keyed by (seed, step, use) and by the position of a sample in the batch."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Key", "KeyedRandom", "derive_seed"]

Key: TypeAlias = str | int

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def derive_seed(*keys: Key) -> int:
    """Return a 63-bit seed that depends on every key and on their order.

    The value is a fixed integer function, the same on every machine and version.

    Source: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014), chained over the keys.
    """
    mixed = _GOLDEN
    for key in keys:
        number = zlib.crc32(key.encode()) ^ (len(key) << 32) if isinstance(key, str) else key
        mixed = (mixed + (number & _MASK) * 0xD1B54A32D192ED03 + _GOLDEN) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        mixed ^= mixed >> 31
    return mixed >> 1


class KeyedRandom:
    """Noise for one optimizer step that does not depend on how its batch is cut.

    Every draw is made for the whole global batch on the CPU and then sliced, so each sample gets
    the same numbers for any world size, accumulation and device. Two draws of one kind are equal
    unless their `stream` differs: name the stream after its use (`stream="flow_time"`).

    Args:
        seed: The run's seed.
        step: Optimizer steps done before this one.
        total: Samples of the global batch.
        start: Position of this part's first sample in the global batch.
        count: Samples of this part; None: all from `start` on.
        device: Where the numbers are wanted.
    """

    __slots__ = ("_drawn", "count", "device", "seed", "start", "step", "total")

    def __init__(
        self,
        seed: int,
        step: int,
        *,
        total: int,
        start: int = 0,
        count: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.seed = seed
        self.step = step
        self.total = total
        self.start = start
        self.count = total - start if count is None else count
        self.device = device
        self._drawn: dict[tuple[object, ...], Tensor] | None = None

    def slice(self, begin: int, end: int) -> KeyedRandom:
        """Return the numbers of this part's samples `begin:end`, for a micro-batch."""
        if self._drawn is None:
            self._drawn = {}  # from now on, what is drawn is kept for the other micro-batches
        part = KeyedRandom(
            self.seed,
            self.step,
            total=self.total,
            start=self.start + begin,
            count=end - begin,
            device=self.device,
        )
        part._drawn = self._drawn
        return part

    def normal(self, *shape: int, stream: Key = "", dtype: torch.dtype | None = None) -> Tensor:
        """Return standard normal numbers `(count, *shape)`."""
        return self._draw("normal", shape, stream, dtype, torch.randn)

    def uniform(
        self,
        *shape: int,
        low: float = 0.0,
        high: float = 1.0,
        stream: Key = "",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Return numbers `(count, *shape)`, uniform in [low, high)."""
        unit = self._draw("uniform", shape, stream, dtype, torch.rand)
        return unit if (low, high) == (0.0, 1.0) else unit * (high - low) + low

    def bernoulli(self, probability: float, *shape: int, stream: Key = "") -> Tensor:
        """Return booleans `(count, *shape)` that are True with the probability."""
        return self._draw("bernoulli", shape, stream, None, torch.rand) < probability

    def integers(self, high: int, *shape: int, stream: Key = "") -> Tensor:
        """Return int64 numbers `(count, *shape)`, uniform in [0, high)."""
        return (
            self._draw("integers", shape, stream, torch.float64, torch.rand)
            .mul(high)
            .to(torch.int64)
        )

    def generator(self, stream: Key = "") -> torch.Generator:
        """Return a CPU generator for draws that concern the whole batch, equal on all ranks."""
        return torch.Generator().manual_seed(derive_seed(self.seed, self.step, "batch", stream))

    def _draw(
        self,
        kind: str,
        shape: tuple[int, ...],
        stream: Key,
        dtype: torch.dtype | None,
        draw: Callable[..., Tensor],
    ) -> Tensor:
        drawn, key = self._drawn, (kind, shape, stream, dtype)
        whole = None if drawn is None else drawn.get(key)
        if whole is None:
            generator = torch.Generator()
            generator.manual_seed(derive_seed(self.seed, self.step, kind, stream))
            whole = draw((self.total, *shape), generator=generator, dtype=dtype)
            if drawn is not None:
                drawn[key] = whole
        part = whole[self.start : self.start + self.count]
        # A kept draw is copied: an in-place operation must not change what others will get.
        return (part if drawn is None else part.clone()).to(self.device)
