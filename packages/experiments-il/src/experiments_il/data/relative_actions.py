"""Actions relative to the current state: made so in the batch, undone where a policy acts.

Of chunk `a[0..H-1]` and current state `s`, dimension d becomes `a[h, d] - s[m(d)]` for all h;
dimensions without a partner `m(d)`, such as grippers, stay absolute.

Source: "relative trajectory" of Chi et al., Universal Manipulation Interface, 2024, section IV-C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.batch_features import DEFAULT_REFERENCE
from experiments_il.data.relative_spec import check_relative
from experiments_il.data.statistics import MODES, column_statistics
from trainer_core.errors import DatasetError
from trainer_core.windows import EdgeDistances, Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from experiments_il.data.column_store import ColumnStore
    from experiments_il.data.lerobot_format import Feature
    from trainer_core.normalize import Normalizer

__all__ = [
    "RelativeKey",
    "absolute_chunk",
    "in_data_units",
    "relative_keys",
    "relative_stats",
    "with_reference",
]

_STEPS_LOOKED_AT = 2**22


@dataclass(frozen=True, slots=True)
class RelativeKey:
    """A key whose values are differences to the current frame's value of another key.

    Attributes:
        key: The key.
        reference: What its values are relative to.
        own: Dimensions of the key that are relative.
        others: The dimension of the reference that belongs to each.
    """

    key: str
    reference: str
    own: tuple[int, ...]
    others: tuple[int, ...]

    def subtract(self, values: NDArray[Any], current: NDArray[Any]) -> NDArray[Any]:
        """Return the values, changed in place.

        Args:
            values: `(B, A)` or `(B, T, A)`.
            current: The reference's values at the samples' frames, `(B, S)`.
        """
        states = current[:, list(self.others)]
        values[..., list(self.own)] -= states if values.ndim == 2 else states[:, None]
        return values

    def to_json(self, width: int) -> dict[str, Any]:
        """Return what travels with the statistics.

        Args:
            width: Dimensions of the key.
        """
        partners = dict(zip(self.own, self.others, strict=True))
        return {"reference": self.reference, "dims": [partners.get(n) for n in range(width)]}


def relative_keys(
    given: Mapping[str, Mapping[str, Any]],
    features: Mapping[str, Feature],
    offsets: Mapping[str, Sequence[int]],
) -> list[RelativeKey]:
    """Return the checked entries of `relative_actions`.

    Args:
        given: `reference` and `dims`, both optional, by key.
        features: Those of the data set.
        offsets: Windows by key; that of a reference must end with the current frame.

    Raises:
        DatasetError: A key is not there or no vector of floats, or `dims` does not fit the two.
    """
    found = []
    for key, spec in given.items():
        window = offsets.get(str(spec.get("reference", DEFAULT_REFERENCE)))
        reference, partners = check_relative(
            key, spec, features, None if window is None else tuple(window)
        )
        found.append(RelativeKey(key, reference, tuple(partners), tuple(partners.values())))
    return found


def relative_stats(
    store: ColumnStore,
    relative: RelativeKey,
    offsets: Mapping[str, Sequence[int]],
    mode: str,
) -> dict[str, Any]:
    """Return an entry of `norm_stats`: the statistics of relative chunks, and what is relative.

    Padding does not count. Of more than 4 million steps, those of evenly spaced samples are looked
    at.

    Args:
        store: The columns.
        relative: The key.
        offsets: Frames relative to the sample, by key.
        mode: How the key is normalised.

    Raises:
        DatasetError: No step of any chunk lies in its episode.
    """
    window = Window(offsets.get(relative.key, (0,)))
    rows = np.arange(0, len(store), -(-len(store) * len(window) // _STEPS_LOOKED_AT))
    edges = EdgeDistances(rows, store.before, store.after)
    column = store.numbers(relative.key)
    chunks = column[window.rows(edges)].astype(np.float64)
    relative.subtract(chunks, store.numbers(relative.reference)[rows])
    steps = chunks[~window.is_pad(edges)]
    if not len(steps):
        message = f"relative_actions: the window of '{relative.key}' lies outside all episodes"
        raise DatasetError(message)
    statistics = column_statistics(steps)
    return {
        "mode": mode,
        **{name: statistics[name].tolist() for name in MODES[mode]},
        "relative": relative.to_json(column.shape[1]),
    }


def with_reference(normalizer: Normalizer, key: str, observed: Sequence[str]) -> tuple[str, ...]:
    """Return the observations that a policy needs: those it sees, and what `key` is relative to."""
    relative = normalizer.to_json().get(key, {}).get("relative")
    needed = [] if relative is None else [str(relative["reference"])]
    return tuple(dict.fromkeys([*observed, *needed]))


def in_data_units(
    normalizer: Normalizer, key: str, chunk: Tensor, observation: Mapping[str, Tensor]
) -> Tensor:
    """Return a normalised chunk in the units of the data set, absolute.

    Args:
        normalizer: The statistics.
        key: The key of the actions.
        chunk: Normalised `(B, H, A)`.
        observation: As for `absolute_chunk`.
    """
    if key in normalizer.keys:
        chunk = normalizer.unnormalize(key, chunk)
    return absolute_chunk(normalizer, key, chunk, observation)


def absolute_chunk(
    normalizer: Normalizer, key: str, chunk: Tensor, observation: Mapping[str, Tensor]
) -> Tensor:
    """Return a chunk in absolute units: what `RelativeKey.subtract` took away is added.

    Args:
        normalizer: Whose statistics say what is relative.
        key: The key of the actions.
        chunk: Un-normalised `(B, H, A)`.
        observation: Un-normalised; the reference `(B, T, S)`, the current frame last.

    Raises:
        DatasetError: The observation lacks the reference.
    """
    relative = normalizer.to_json().get(key, {}).get("relative")
    if relative is None:
        return chunk
    reference = relative["reference"]
    if reference not in observation:
        message = f"'{key}' is relative to '{reference}', which the observation does not have"
        raise DatasetError(message)
    pairs = [(own, other) for own, other in enumerate(relative["dims"]) if other is not None]
    current = observation[reference]
    current = current[:, -1] if current.ndim == 3 else current
    absolute = chunk.clone()
    absolute[..., [own for own, _ in pairs]] += current[:, None, [other for _, other in pairs]]
    return absolute
