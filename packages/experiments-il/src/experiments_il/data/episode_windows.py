"""Batches of episodes that a data set does not hold: what they have to bring, and how it is cast.

Shapes: B batch, T frames of a window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from experiments_il.data.batch_features import INDEX_KEY
from trainer_core.errors import DatasetError
from trainer_core.online import EpisodeKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from experiments_il.data.lerobot_format import Feature
    from experiments_il.data.relative_actions import RelativeKey
    from experiments_il.data.source import FrameSource
    from trainer_core.protocols import Batch
    from trainer_core.windows import Window

__all__ = ["EpisodeWindows"]

_NOWHERE = (INDEX_KEY, "episode_index")
"""Places in the data set; a new episode has none."""
_OF_TASK = ("task", "task_index")


@final
class EpisodeWindows:
    """Makes the batches of a data set out of windows of other episodes.

    Args:
        source: The data set.
        names: Keys of the batch, in their order.
        windows: Frames around the sample by key.
        relative: Keys whose values are differences to another key's.

    Raises:
        DatasetError: A key of the batch cannot be known of a new episode.
    """

    def __init__(
        self,
        source: FrameSource,
        names: Sequence[str],
        windows: Mapping[str, Window],
        relative: Mapping[str, RelativeKey],
    ) -> None:
        self._names = tuple(names)
        self._relative = {key: each for key, each in relative.items() if key in names}
        self._task = source.tasks[0] if source.tasks else ""
        references = [each.reference for each in self._relative.values()]
        wanted = dict.fromkeys([*names, *references])
        self.keys: dict[str, EpisodeKey] = {
            name: _episode_key(source.features[name], windows.get(name))
            for name in wanted
            if not _is_made(name, source)
        }

    def batch(self, windows: Mapping[str, NDArray[Any]]) -> Batch:
        """Return the batch; see `trainer_core.online.OnlineData.batch_of_windows`.

        Raises:
            DatasetError: A key is missing, or its frames have another shape.
        """
        size = self._require(windows)
        references = {
            name: self._current(each.reference, windows).copy()
            for name, each in self._relative.items()
        }
        batch: Batch = {}
        for name in self._names:
            if name not in self.keys:
                batch[name] = self._make(name, size)
                continue
            values = _cast(windows[name], self.keys[name])
            if name in references:
                values = self._relative[name].subtract(values, references[name])
            batch[name] = torch.from_numpy(values)
            if self.keys[name].offsets is not None:
                is_pad = np.require(windows[f"{name}_is_pad"], np.bool_, ["C", "W"])
                batch[f"{name}_is_pad"] = torch.from_numpy(is_pad)
        return batch

    def _current(self, name: str, windows: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return a key's values at the samples' own frames."""
        frames = windows[name]
        return frames if self.keys[name].offsets is None else frames[:, -1]

    def _make(self, name: str, size: int) -> Any:
        """Return what new samples have for a key that needs no episode."""
        if name == "task":
            return [self._task] * size
        return torch.full((size,), -1 if name in _NOWHERE else 0, dtype=torch.int64)

    def _require(self, windows: Mapping[str, NDArray[Any]]) -> int:
        """Return the number of samples; refuse windows that are not those of the keys."""
        size = -1
        for name, key in self.keys.items():
            length = () if key.offsets is None else (len(key.offsets),)
            places = {name: (*length, *key.shape)} | ({f"{name}_is_pad": length} if length else {})
            for each, shape in places.items():
                found = windows.get(each)
                if found is None or found.shape[1:] != shape or size not in {-1, len(found)}:
                    is_there = "nothing" if found is None else f"{list(found.shape)}"
                    expected = ", ".join(map(str, ("B" if size < 0 else size, *shape)))
                    message = f"windows of '{each}': expected [{expected}], found {is_there}"
                    raise DatasetError(message)
                size = len(found)
        return size


def _is_made(name: str, source: FrameSource) -> bool:
    """Return whether a new episode's values are known without it; refuse what nobody can know."""
    if name in _NOWHERE:
        return True
    if name in _OF_TASK:
        if len(source.tasks) > 1:
            message = (
                f"{source.root}: has {len(source.tasks)} tasks, and a new episode does not say "
                f"which is its own; leave '{name}' out of data.keys"
            )
            raise DatasetError(message)
        return True
    if source.features[name].dtype == "string":
        message = (
            f"{source.root}: '{name}' holds strings, which new episodes do not bring; leave it out "
            "of data.keys"
        )
        raise DatasetError(message)
    return False


def _episode_key(feature: Feature, window: Window | None) -> EpisodeKey:
    dtype = feature.stored_dtype
    offsets = None if window is None else tuple(window.offsets.tolist())
    return EpisodeKey(feature.item_shape, "float32" if dtype == "float16" else dtype, offsets)


def _cast(values: NDArray[Any], key: EpisodeKey) -> NDArray[Any]:
    """Return values of the batch's type, in memory that torch may write to."""
    dtype = np.float32 if key.dtype.startswith("float") else np.dtype(key.dtype)
    return np.require(values, dtype, ["C", "W"])
