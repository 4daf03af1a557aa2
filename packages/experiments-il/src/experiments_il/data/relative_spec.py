"""An entry of `relative_actions` against the columns of a data set; without torch and numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments_il.data.batch_features import DEFAULT_REFERENCE
from experiments_il.data.lerobot_format import nearest_hint
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from experiments_il.data.lerobot_format import Feature

__all__ = ["check_relative"]


def check_relative(
    key: str,
    spec: Mapping[str, Any],
    features: Mapping[str, Feature],
    window: tuple[int, ...] | None,
) -> tuple[str, dict[int, int]]:
    """Return the reference of a relative key, and its dimension for each relative one of the key.

    Args:
        key: The key.
        spec: `reference` and `dims`, both optional.
        features: Those of the data set.
        window: Frames of the reference's window; None if it has none.

    Raises:
        DatasetError: A key is not there or no vector of floats, or `dims` does not fit the two.
    """
    unknown = sorted(set(spec) - {"reference", "dims"})
    if unknown:
        message = f"relative_actions.{key}: there is no '{unknown[0]}'; it has reference and dims"
        raise DatasetError(message)
    reference = str(spec.get("reference", DEFAULT_REFERENCE))
    own, other = (_width(name, features) for name in (key, reference))
    if window is not None and window[-1] != 0:
        message = (
            f"relative_actions.{key}: the window of '{reference}' must end with the current frame, "
            f"found {list(window)}"
        )
        raise DatasetError(message)
    dims = spec.get("dims")
    if dims is None and own == other:
        dims = list(range(own))
    if dims is None:
        message = (
            f"relative_actions.{key}: has {own} dimensions, '{reference}' {other}: say with 'dims' "
            "which belongs to which, null for those that stay absolute"
        )
        raise DatasetError(message)
    if not isinstance(dims, list | tuple):
        message = f"relative_actions.{key}: 'dims' is {dims!r}, expected a list of numbers and null"
        raise DatasetError(message)
    if len(dims) != own:
        message = f"relative_actions.{key}: {own} dimensions, 'dims' has {len(dims)} entries"
        raise DatasetError(message)
    wrong = [
        each
        for each in dims
        if each is not None and not (type(each) is int and each in range(other))
    ]
    if wrong:
        message = (
            f"relative_actions.{key}: 'dims' names {wrong[0]!r}; '{reference}' has the dimensions "
            f"0 to {other - 1}"
        )
        raise DatasetError(message)
    return reference, {number: each for number, each in enumerate(dims) if each is not None}


def _width(name: str, features: Mapping[str, Feature]) -> int:
    if name not in features:
        message = f"relative_actions: the data set has no key '{name}'"
        raise DatasetError(message + nearest_hint(name, features))
    feature = features[name]
    if not feature.dtype.startswith("float") or len(feature.shape) != 1 or not feature.item_shape:
        message = (
            f"relative_actions: '{name}' is {feature.dtype} {list(feature.shape)}, expected a "
            "vector of floats"
        )
        raise DatasetError(message)
    return feature.shape[0]
