"""The data set factory `mixture`: several data sets in one schema, in given shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from experiments_il.data.mixture_names import MERGED, different_rates, wrong_names
from policy_constructor.errors import ConfigError, Problem
from policy_constructor.spelling import nearest
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from experiments_il.data.mixture_dataset import Member
    from policy_constructor.ranges import Positive, PositiveNumber

__all__ = ["MixtureFactory"]


class MixtureFactory:
    """Draws batches from several data sets, whatever their formats.

    Every key that all have is in the batch, and `dataset_index` int64 `(B,)`. An epoch shows each
    sample of every data set at least once, and each data set in its share; the order is that of
    any data set: a function of the seed and the step.

    Args:
        datasets: The data sets by a name of your choice, each with its `_type_` (such as
            `lerobot`) and parameters.
        weights: Share of each among the samples, by name; relative to one another. The sizes of
            the data sets if None.
        rename: By data set: its own key to the key of the mixture. Masks go with their keys.
        pad: Width of the last dimension by key of the mixture; narrower values get zeros.
        keys: Keys of the mixture; those that all data sets have if None.
        statistics: `merged`: one normalisation for all, with the statistics of the mixture. The
            name of a data set: each is normalised with its own statistics, and a policy with that
            data set's.
        pad_masks: Whether `<key>_dim_is_pad`, bool `(B, width)`, tells which dimensions of a key of
            `pad` are not there.
        mixed_fps: Whether the data sets may have different frame rates. `windows` count frames, so
            that a chunk is another time in each.
    """

    nested_kinds: ClassVar = {"datasets": "data"}
    batch_keys: ClassVar = "experiments_il.data.mixture_shapes:describe"

    def __init__(
        self,
        datasets: dict[str, Any],
        weights: dict[str, PositiveNumber] | None = None,
        rename: dict[str, dict[str, str]] | None = None,
        pad: dict[str, Positive] | None = None,
        keys: list[str] | None = None,
        statistics: str = "merged",
        pad_masks: bool = False,
        mixed_fps: bool = False,
    ) -> None:
        self._datasets = datasets
        self._weights = weights or {}
        self._rename = rename or {}
        self._pad = pad or {}
        self._keys = keys
        self._statistics = statistics
        self._pad_masks = pad_masks
        self._mixed_fps = mixed_fps
        problems = self._find_problems()
        if problems:
            raise ConfigError(problems)

    def build(self, opt_params: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        """Build every data set; return `dataset`, `norm_stats` and `val_dataset` if any has one.

        Args:
            opt_params: Handed on to each.
            params: Unused; the constructor takes all parameters.

        Raises:
            DatasetError: The data sets do not fit together.
        """
        del params
        from experiments_il.data.mixture_dataset import MixtureDataset, repetitions  # noqa: PLC0415 - torch

        built = {name: each.build(opt_params, {}) for name, each in self._datasets.items()}
        self._check_rates({name: each["dataset"] for name, each in built.items()})
        statistics = {name: self._stats_of(name, each) for name, each in built.items()}
        lengths = {name: len(each["dataset"]) for name, each in built.items()}
        counts = repetitions(lengths, self._weights)
        norm_stats = self._norm_stats(statistics, [count / sum(counts) for count in counts])
        members = [self._member(name, each["dataset"], statistics) for name, each in built.items()]
        mixture = MixtureDataset(members, counts, self._keys)
        result: dict[str, Any] = {"dataset": mixture, "norm_stats": norm_stats}
        held_out = {
            name: each["val_dataset"] for name, each in built.items() if "val_dataset" in each
        }
        if held_out:
            members = [self._member(name, each, statistics) for name, each in held_out.items()]
            sizes = [len(each) for each in held_out.values()]
            keys = [key for key in mixture.keys if not _is_implied(key, mixture.keys)]
            result["val_dataset"] = MixtureDataset(members, sizes, keys)
        return result

    def _check_rates(self, datasets: Mapping[str, Any]) -> None:
        rates = {name: getattr(each, "fps", None) for name, each in datasets.items()}
        message = None if self._mixed_fps else different_rates(rates)
        if message is not None:
            raise DatasetError(message)

    def _stats_of(self, name: str, built: Mapping[str, Any]) -> dict[str, Any]:
        """Return the statistics of a data set by the mixture's keys, those that it keeps."""
        rename = self._rename.get(name, {})
        renamed = {rename.get(key, key): each for key, each in built["norm_stats"].items()}
        return {
            key: each for key, each in renamed.items() if self._keys is None or key in self._keys
        }

    def _norm_stats(
        self, statistics: Mapping[str, dict[str, Any]], shares: list[float]
    ) -> dict[str, Any]:
        from experiments_il.data.mixture_statistics import (  # noqa: PLC0415 - numpy, when used
            check_same_modes,
            merge_norm_stats,
            pad_norm_stats,
        )

        if self._statistics == MERGED:
            return merge_norm_stats(statistics, shares, self._pad)
        check_same_modes(statistics)
        return pad_norm_stats(statistics[self._statistics], self._pad)

    def _member(self, name: str, dataset: Any, statistics: Mapping[str, dict[str, Any]]) -> Member:
        from experiments_il.data.mixture_dataset import Member  # noqa: PLC0415 - torch, when used
        from experiments_il.data.mixture_statistics import pad_norm_stats  # noqa: PLC0415 - numpy
        from trainer_core.normalize import Normalizer  # noqa: PLC0415 - torch, when used

        rename = self._rename.get(name, {})
        known = list(dataset.__getitems__([0]))
        for key in rename:
            if key not in known:
                near = nearest(key, known)
                hint = f"; did you mean '{near[0]}'?" if near else f"; it has {', '.join(known)}"
                message = f"rename: '{name}' has no key '{key}'{hint}"
                raise DatasetError(message)
        shift = None
        if self._statistics not in {MERGED, name}:
            both = (statistics[name], statistics[self._statistics])
            own, reference = (Normalizer(pad_norm_stats(each, self._pad)) for each in both)
            shift = (own, reference)
        return Member(name, dataset, rename, self._pad, shift, self._pad_masks)

    def _find_problems(self) -> list[Problem]:
        wrong = wrong_names(
            self._datasets,
            weights=self._weights,
            rename=self._rename,
            statistics=self._statistics,
        )
        return [
            Problem(
                each.message, path=".".join(("data", *each.place)), suggestions=each.suggestions
            )
            for each in wrong
        ]


def _is_implied(key: str, keys: Collection[str]) -> bool:
    """Return whether a key comes by itself: the data set's number, or a mask with its key."""
    owners = {key.removesuffix(end) for end in ("_dim_is_pad", "_is_pad") if key.endswith(end)}
    return key == "dataset_index" or any(owner in keys for owner in owners)
