"""Which parts of a batch a model takes and a loss compares with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer_core.tree import select

if TYPE_CHECKING:
    from collections import abc

    from trainer_core.protocols import Batch
    from trainer_core.tree import PathPart

__all__ = ["Mapping"]


class Mapping:
    """Names the model's inputs and the loss's targets by their paths in the batch.

    Args:
        model_kwargs: Path of each keyword argument of the model's forward: `{x: [x]}`, or
            `{image: [observation.images, 0]}` for a part of a nested batch.
        targets: Path of each target. With one target the loss gets the value, with several a
            dict.
    """

    def __init__(
        self,
        model_kwargs: abc.Mapping[str, list[str | int]],
        targets: abc.Mapping[str, list[str | int]],
    ) -> None:
        self.model_kwargs = {name: _shorten(path) for name, path in model_kwargs.items()}
        self.targets = {name: _shorten(path) for name, path in targets.items()}

    def model_inputs(self, batch: Batch) -> dict[str, Any]:
        """Return the keyword arguments of the model's forward."""
        return _pick(batch, self.model_kwargs)

    def loss_targets(self, batch: Batch) -> dict[str, Any]:
        """Return the targets by name."""
        return _pick(batch, self.targets)


def _pick(batch: Batch, paths: abc.Mapping[str, str | abc.Sequence[PathPart]]) -> dict[str, Any]:
    return {
        name: batch[path] if type(path) is str and path in batch else select(batch, path)
        for name, path in paths.items()
    }


def _shorten(path: str | abc.Sequence[PathPart]) -> str | abc.Sequence[PathPart]:
    """Return the key itself for a path of one key, which is read without a search."""
    if not isinstance(path, str) and len(path) == 1 and isinstance(path[0], str):
        return path[0]
    return path
