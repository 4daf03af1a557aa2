"""Data set statistics -> normalise on the device, undo it, and travel with a policy as JSON."""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trainer_core.protocols import Batch

__all__ = ["MODES", "Normalizer"]

_STATISTICS = {
    "identity": (),
    "mean_std": ("mean", "std"),
    "min_max": ("min", "max"),
    "quantiles": ("q01", "q99"),
}
MODES = tuple(_STATISTICS)
_CONSTANT_BELOW = 1e-4
_SPREAD_NUMBERS = 1 << 14


class Normalizer(nn.Module):
    """Affine normalisation of batch keys with the statistics of the data set.

    - `mean_std`: (x - mean) / std
    - `min_max`: 2 (x - min) / (max - min) - 1
    - `quantiles`: 2 (x - q01) / (q99 - q01) - 1
    - `identity`: x

    A constant dimension (std or range below 1e-4) maps its constant c to 0 with slope 1: x - c.
    Integer images are scaled from bytes to [0, 1] first; their statistics are of that range.

    Args:
        norm_stats: `{key: {"mode": ..., <statistic>: list}}`; further statistics are kept.

    Raises:
        DatasetError: A mode is unknown, or a statistic is missing, not finite or of another
            shape than its partner.

    Source: constant dimensions as in diffusion_policy's LinearNormalizer (Chi et al., 2023).
    """

    def __init__(self, norm_stats: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        super().__init__()
        self._stats = {key: dict(stats) for key, stats in (norm_stats or {}).items()}
        self._slots: dict[str, int] = {}
        for key, stats in self._stats.items():
            mode = stats.get("mode")
            if mode not in _STATISTICS:
                msg = f"norm_stats[{key!r}] has the mode {mode!r}; known: {', '.join(MODES)}"
                raise DatasetError(msg)
            if mode != "identity":
                slot = self._slots[key] = len(self._slots)
                center, scale = _center_and_scale(key, mode, stats)
                self.register_buffer(f"center_{slot}", center)
                self.register_buffer(f"scale_{slot}", scale)
                self.register_buffer(f"inverse_{slot}", 1.0 / scale)

    @property
    def keys(self) -> tuple[str, ...]:
        """The batch keys that normalisation changes."""
        return tuple(self._slots)

    def forward(self, batch: Batch) -> Batch:
        """Return `normalize(batch)`."""
        return self.normalize(batch)

    def normalize(self, batch: Batch) -> Batch:
        """Return a new batch with its known keys normalised; the others are passed on."""
        normalized = dict(batch)
        for key in self._slots:
            if key in normalized:
                normalized[key] = self.normalize_key(key, normalized[key])
        return normalized

    def for_batches(self) -> Callable[[Batch], Batch]:
        """Return `normalize` for the batches of a run, while the statistics stay as they are.

        Statistics are spread over whole samples once, instead of for every frame of every batch.
        """
        spread: dict[tuple[str, torch.Size], tuple[Tensor, Tensor]] = {}

        def normalize(batch: Batch) -> Batch:
            normalized = dict(batch)
            for key, slot in self._slots.items():
                value = normalized.get(key)
                if value is None:
                    continue
                if value.dtype != torch.float32:
                    normalized[key] = self.normalize_key(key, value)
                    continue
                sample = key, value.shape[1:]
                if sample not in spread:
                    spread[sample] = self._spread(slot, value.shape[1:])
                center, inverse = spread[sample]
                normalized[key] = torch.sub(value, center).mul_(inverse)
            return normalized

        return normalize

    def _spread(self, slot: int, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Return centre and inverse for every number of a sample, if there are not too many."""
        buffers: Any = self._buffers
        center, inverse = buffers[f"center_{slot}"], buffers[f"inverse_{slot}"]
        if center.dim() >= len(shape) or math.prod(shape) > _SPREAD_NUMBERS:
            return center, inverse
        return center.expand(shape).contiguous(), inverse.expand(shape).contiguous()

    def normalize_key(self, key: str, value: Tensor) -> Tensor:
        """Return a normalised tensor `(..., *shape of the statistics)`.

        Keys without statistics, or with the mode `identity`, are returned unchanged.
        """
        slot = self._slots.get(key)
        if slot is None:
            return value
        if not value.is_floating_point():
            value = value.float() / 255.0 if value.dtype == torch.uint8 else value.float()
        buffers: Any = self._buffers
        center, inverse = buffers[f"center_{slot}"], buffers[f"inverse_{slot}"]
        return torch.sub(value, center).mul_(inverse)

    def unnormalize(self, key: str, value: Tensor) -> Tensor:
        """Return a tensor in the units of the data set.

        Raises:
            KeyError: The data set has no such key.
        """
        if key not in self._stats:
            near = get_close_matches(key, self._stats, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {sorted(self._stats)}"
            msg = f"norm_stats has no key {key!r}{hint}"
            raise KeyError(msg)
        slot = self._slots.get(key)
        if slot is None:
            return value
        buffers: Any = self._buffers
        return torch.mul(value, buffers[f"scale_{slot}"]).add_(buffers[f"center_{slot}"])

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return the statistics as JSON data; `Normalizer(data)` makes an equal one."""
        return {key: dict(stats) for key, stats in self._stats.items()}


def _center_and_scale(key: str, mode: str, stats: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    first_name, second_name = _STATISTICS[mode]
    first, second = (_read_statistic(key, mode, name, stats) for name in (first_name, second_name))
    if first.shape != second.shape:
        msg = (
            f"norm_stats[{key!r}]: {first_name} has the shape {tuple(first.shape)}, "
            f"{second_name} {tuple(second.shape)}"
        )
        raise DatasetError(msg)
    if mode == "mean_std":
        constant = second < _CONSTANT_BELOW
        center, scale = first, second
    else:
        constant = (second - first) < _CONSTANT_BELOW
        center, scale = (first + second) / 2, (second - first) / 2
    scale = torch.where(constant, torch.ones_like(scale), scale)
    return center.float(), scale.float()


def _read_statistic(key: str, mode: str, name: str, stats: Mapping[str, Any]) -> Tensor:
    if name not in stats:
        msg = f"norm_stats[{key!r}] has the mode {mode!r} and no {name!r}"
        raise DatasetError(msg)
    value = torch.as_tensor(stats[name], dtype=torch.float64)
    if not math.isfinite(float(value.sum())):
        msg = f"norm_stats[{key!r}][{name!r}] has a value that is not finite"
        raise DatasetError(msg)
    return value
