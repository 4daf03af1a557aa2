"""Several data sets as one: batches drawn from all of them, in one schema, in given shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch.nn import functional

from experiments_il.data.batch_features import BatchFeature
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trainer_core.normalize import Normalizer
    from trainer_core.online import EpisodeKey
    from trainer_core.protocols import Batch

__all__ = ["Member", "MixtureDataset", "repetitions"]

DATASET_KEY = "dataset_index"
_MAX_SAMPLES = 50_000_000


@dataclass
class Member:
    """A data set of a mixture, read in the mixture's schema.

    Attributes:
        name: What the mixture calls it.
        dataset: What its factory built.
        rename: Keys of the mixture by its own.
        pad: Width of the last dimension by key of the mixture.
        shift: Its statistics and those of the reference: values are moved from the ones to the
            others. None leaves them as they are.
        pad_masks: Whether to tell which dimensions were padded.
    """

    name: str
    dataset: Any
    rename: Mapping[str, str]
    pad: Mapping[str, int]
    shift: tuple[Normalizer, Normalizer] | None = field(default=None)
    pad_masks: bool = False

    def read(self, samples: NDArray[np.int64]) -> dict[str, Any]:
        """Return a batch in the mixture's schema.

        Raises:
            DatasetError: A value is wider than it shall be padded to.
        """
        batch: dict[str, Any] = {}
        for own, value in self.dataset.__getitems__(samples).items():
            key = self._name_of(own)
            batch[key] = self._fit(key, value) if isinstance(value, torch.Tensor) else value
            if self.pad_masks and key in self.pad:
                is_pad = torch.arange(self.pad[key]) >= value.shape[-1]
                batch[f"{key}_dim_is_pad"] = is_pad.expand(len(value), -1)
        return batch

    def _name_of(self, own: str) -> str:
        base = own.removesuffix("_is_pad")
        if own != base and base in self.rename:
            return f"{self.rename[base]}_is_pad"
        return self.rename.get(own, own)

    def _fit(self, key: str, value: torch.Tensor) -> torch.Tensor:
        width = self.pad.get(key)
        if width is not None:
            found = value.shape[-1] if value.ndim > 1 else 1
            if value.ndim == 1 or found > width:
                message = f"pad: '{key}' of '{self.name}' is {found} wide, more than {width}"
                raise DatasetError(message)
            value = functional.pad(value, (0, width - found))
        if self.shift is not None and key in self.shift[0].keys:
            own, reference = self.shift
            value = reference.unnormalize(key, own.normalize_key(key, value))
        return value


@final
class MixtureDataset:
    """Samples of several data sets; position by position it is known which.

    Positions are numbered data set by data set: a shuffled epoch holds every sample of each at
    least once, and as many of each as its share says. `dataset_index` int64 (B,) tells which data
    set a sample is of.

    Args:
        members: The data sets.
        counts: Positions of each, at least its length.
        keys: Keys of the batch; None for those that all have.

    Raises:
        DatasetError: A data set lacks a key, its values have another shape or type, or it has an
            order of its own.
    """

    def __init__(
        self, members: Sequence[Member], counts: Sequence[int], keys: Sequence[str] | None = None
    ) -> None:
        self._members = list(members)
        _refuse_own_orders(self._members)
        self._counts = np.asarray(counts, np.int64)
        self._ends = np.cumsum(self._counts)
        self._features = _common_schema(self._members, keys)
        self._keys = tuple(self._features)

    def __len__(self) -> int:
        """Return the samples of an epoch."""
        return int(self._ends[-1])

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the keys of a batch."""
        return (*self._keys, DATASET_KEY)

    @property
    def features(self) -> dict[str, BatchFeature]:
        """Return shape and dtype of every key of a batch, without the batch dimension."""
        return {**self._features, DATASET_KEY: BatchFeature((), "int64")}

    @property
    def fps(self) -> float | None:
        """Return the frames per second if all data sets have the same."""
        rates = {getattr(member.dataset, "fps", None) for member in self._members}
        return rates.pop() if len(rates) == 1 else None

    @property
    def written(self) -> tuple[str, ...]:
        """Return what was made on the disk for the members: a line each."""
        lines = [line for each in self._members for line in getattr(each.dataset, "written", ())]
        return tuple(dict.fromkeys(lines))

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Return what tells the members' data from other data, by their names."""
        return {
            member.name: getattr(member.dataset, "fingerprint", None) for member in self._members
        }

    @property
    def episode_keys(self) -> dict[str, EpisodeKey]:
        """Refuse new episodes.

        Raises:
            DatasetError: Always: an episode does not say which schema and statistics it has.
        """
        raise self._takes_no_episodes()

    def batch_of_windows(self, windows: Mapping[str, NDArray[Any]]) -> Batch:
        """Refuse new episodes; see `episode_keys`."""
        del windows
        raise self._takes_no_episodes()

    def _takes_no_episodes(self) -> DatasetError:
        names = ", ".join(member.name for member in self._members)
        message = (
            f"a mixture ({names}) takes no new episodes: they do not say whose of these they are; "
            "learn online with one data set"
        )
        return DatasetError(message)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample."""
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int] | NDArray[np.int64]) -> dict[str, Any]:
        """Return a batch: tensors `(B, ...)` by key, lists of strings where keys hold strings."""
        positions = np.asarray(indices, np.int64)
        source = np.searchsorted(self._ends, positions, side="right")
        batch: dict[str, Any] = {}
        for number in np.unique(source).tolist():
            places = np.flatnonzero(source == number)
            first = int(self._ends[number] - self._counts[number])
            member = self._members[number]
            # Spread evenly: a sample is there as often as any other, or once more.
            samples = (positions[places] - first) * len(member.dataset) // self._counts[number]
            values = member.read(samples)
            for key in self._keys:
                _place(batch, key, values[key], places, len(positions))
        batch[DATASET_KEY] = torch.from_numpy(source.astype(np.int64))
        return batch


def repetitions(lengths: Mapping[str, int], weights: Mapping[str, float]) -> list[int]:
    """Return how many positions of an epoch each data set has.

    The epoch is as short as can be while every sample is in it and the shares are those of the
    weights; without weights every sample is in it once.

    Raises:
        DatasetError: The epoch is too long, because a large data set has a small weight.
    """
    if not weights:
        return list(lengths.values())
    total = sum(weights.values())
    shares = {name: weights[name] / total for name in lengths}
    longest = max(lengths, key=lambda name: lengths[name] / shares[name])
    samples = lengths[longest] / shares[longest]
    if samples > _MAX_SAMPLES:
        message = (
            f"weights: an epoch with all {lengths[longest]} samples of '{longest}' at a share of "
            f"{shares[longest]:.2g} has {samples:.2g} samples; choose a larger weight or fewer "
            "episodes"
        )
        raise DatasetError(message)
    return [max(length, round(samples * shares[name])) for name, length in lengths.items()]


def _refuse_own_orders(members: Sequence[Member]) -> None:
    """Refuse data sets that are to be read in an order of their own: a mixture draws from all."""
    for member in members:
        offer = getattr(member.dataset, "sample_order", None)
        if callable(offer) and offer(0) is not None:
            message = (
                f"'{member.name}' has an order of its own (order: chunked), which a mixture cannot "
                "keep; use order: shuffled, with cache: jpeg or uint8 for its videos"
            )
            raise DatasetError(message)


def _place(
    batch: dict[str, Any], key: str, values: Any, places: NDArray[np.int64], size: int
) -> None:
    if isinstance(values, torch.Tensor):
        if key not in batch:
            batch[key] = values.new_empty((size, *values.shape[1:]))
        batch[key][torch.from_numpy(places)] = values
        return
    column = batch.setdefault(key, [""] * size)
    for place, value in zip(places.tolist(), values, strict=True):
        column[place] = value


def _common_schema(
    members: Sequence[Member], keys: Sequence[str] | None
) -> dict[str, BatchFeature]:
    """Return what a batch holds by key, after a look at the first sample of each data set."""
    first = {member.name: member.read(np.zeros(1, np.int64)) for member in members}
    (name, known), *others = first.items()
    if keys is None:
        wanted = [key for key in known if all(key in batch for _, batch in others)]
    else:
        pads = [f"{key}{end}" for key in keys for end in ("_is_pad", "_dim_is_pad")]
        wanted = [*keys, *(pad for pad in pads if all(pad in batch for batch in first.values()))]
        for each, batch in first.items():
            missing = [key for key in keys if key not in batch]
            if missing:
                message = f"'{each}' has no key '{missing[0]}'; it has {', '.join(sorted(batch))}"
                raise DatasetError(message)
    for other, batch in others:
        for key in wanted:
            if _describe(batch[key]) != _describe(known[key]):
                message = (
                    f"'{key}' is {_describe(known[key])} in '{name}' and {_describe(batch[key])} "
                    f"in '{other}'; use pad, rename it, or leave it out of keys"
                )
                raise DatasetError(message)
    return {key: _feature(known[key]) for key in wanted}


def _feature(values: Any) -> BatchFeature:
    if not isinstance(values, torch.Tensor):
        return BatchFeature((), "str")
    return BatchFeature(tuple(values.shape[1:]), str(values.dtype).removeprefix("torch."))


def _describe(values: Any) -> str:
    feature = _feature(values)
    return "text" if feature.dtype == "str" else f"{feature.dtype} {list(feature.shape)}"
