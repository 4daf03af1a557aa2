"""A data set whose batches are filled up with samples of new episodes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trainer_core.errors import DatasetError
from trainer_core.sampling import order_of
from trainer_core.tree import to_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from trainer_core.protocols import Batch
    from trainer_core.sampling import Order

__all__ = ["MixedData", "MixedOrder", "Proportions"]


@dataclass(frozen=True)
class Proportions:
    """How the places of a batch are shared out.

    Places for new episodes are spread evenly, so that each micro-batch has its part of them.

    Attributes:
        batch: Samples of a batch.
        online: Those of them that come from new episodes.
        offline_steps: Steps before that, all of whose samples come from the data set.
    """

    batch: int
    online: int
    offline_steps: int = 0

    @property
    def offline(self) -> int:
        """Samples of a mixed batch that come from the data set."""
        return self.batch - self.online

    def places(self) -> NDArray[np.bool_]:
        """Return which places of a mixed batch are for new episodes, bool `(batch,)`."""
        filled = np.arange(self.batch + 1) * self.online // self.batch
        return np.diff(filled) > 0


class MixedOrder:
    """The data set's own order, spread over the places that are for it; the others get a mark.

    The samples of the data set come one after the other without a gap, over batches, epochs and
    `offline_steps`: it is a function of the position alone, as a run that goes on needs it.

    Args:
        own: The data set's order.
        proportions: How batches are shared out.
        mark: The index that stands in the places of new episodes.
    """

    def __init__(self, own: Order, proportions: Proportions, mark: int) -> None:
        self._own = own
        self._proportions = proportions
        self._mark = mark
        self._places = proportions.places()
        self._before = np.concatenate([[0], np.cumsum(~self._places)])

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the samples at positions `start:stop`, int64; marks for new episodes."""
        alone = self._proportions.offline_steps * self._proportions.batch
        positions = np.arange(start, stop)
        is_new = self._places[positions % self._proportions.batch] & (positions >= alone)
        found = np.full(stop - start, self._mark, np.int64)
        found[~is_new] = self._own.indices(self._count(start), self._count(stop))
        return found

    def _count(self, position: int) -> int:
        """Return how many samples of the data set come before a position."""
        alone = self._proportions.offline_steps * self._proportions.batch
        if position <= alone:
            return position
        batches, place = divmod(position - alone, self._proportions.batch)
        return alone + batches * self._proportions.offline + int(self._before[place])


class MixedData:
    """Batches of a data set in its own order, with places for samples of new episodes.

    Its length makes an epoch of mixed batches a pass over the data set. Until `begin` was called
    there are no new samples, and samples of the data set stand in for them.

    Args:
        dataset: The data set; an `OnlineData` with `__getitems__`.
        proportions: How batches are shared out.
    """

    def __init__(self, dataset: Any, proportions: Proportions) -> None:
        self.dataset = dataset
        self.proportions = proportions
        self._take: Callable[[], Batch] | None = None

    def __len__(self) -> int:
        """Return the samples of an epoch: the data set's, and the new ones beside them."""
        own = len(self.dataset)
        shared = math.ceil(own * self.proportions.batch / max(1, self.proportions.offline))
        return max(shared, own + 1)

    @property
    def features(self) -> Mapping[str, Any]:
        """Return what the data set tells of its batches; nothing if it tells nothing."""
        return getattr(self.dataset, "features", None) or {}

    @property
    def fps(self) -> float | None:
        """Return the data set's frames per second, if it tells them."""
        return getattr(self.dataset, "fps", None)

    @property
    def fingerprint(self) -> Any:
        """Return what tells the data set's data from other data, if it tells that."""
        return getattr(self.dataset, "fingerprint", None)

    def begin(self, take: Callable[[], Batch]) -> None:
        """Fill batches up from now on.

        Args:
            take: Returns the next samples of new episodes, as a batch of `proportions.online`.
        """
        self._take = take

    def sample_order(self, seed: int) -> MixedOrder:
        """Return the data set's order with marks in the places of new episodes."""
        return MixedOrder(order_of(self.dataset, seed), self.proportions, len(self.dataset))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample of the data set."""
        batch = self.__getitems__(np.asarray([index]))
        return {key: value[0] for key, value in batch.items()}

    def __getitems__(self, indices: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Return a batch; places with the mark get samples of new episodes."""
        found = np.asarray(indices, np.int64)
        is_new = found >= len(self.dataset)
        if self._take is None or not is_new.any():
            return self._read(found % len(self.dataset))
        new = self._take()
        if is_new.all():
            return new
        return _merge(self._read(found[~is_new]), new, torch.from_numpy(is_new))

    def _read(self, indices: NDArray[np.int64]) -> Batch:
        batch: Batch = to_tensors(self.dataset.__getitems__(indices))
        return batch


def _merge(own: Batch, new: Batch, is_new: Tensor) -> Batch:
    """Return a batch of both, each in its places.

    Raises:
        DatasetError: They have different keys, shapes or dtypes.
    """
    if own.keys() != new.keys():
        missing = ", ".join(sorted(own.keys() ^ new.keys()))
        msg = f"batches of new episodes and of the data set have different keys: {missing}"
        raise DatasetError(msg)
    places = torch.nonzero(~is_new).squeeze(1), torch.nonzero(is_new).squeeze(1)
    return {key: _merge_key(key, value, new[key], places) for key, value in own.items()}


def _merge_key(key: str, own: Any, new: Any, places: tuple[Tensor, Tensor]) -> Any:
    if not isinstance(own, Tensor):
        size = len(own) + len(new)
        merged: list[Any] = [None] * size
        for values, where in zip((own, new), places, strict=True):
            for place, value in zip(where.tolist(), values, strict=True):
                merged[place] = value
        return merged
    if own.shape[1:] != new.shape[1:] or own.dtype != new.dtype:
        msg = (
            f"{key!r} of new episodes is {_describe(new)}, and {_describe(own)} in the data set: "
            "the two cannot be one batch"
        )
        raise DatasetError(msg)
    whole = own.new_empty((len(own) + len(new), *own.shape[1:]))
    whole[places[0]] = own
    whole[places[1]] = new
    return whole


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape[1:])}"
