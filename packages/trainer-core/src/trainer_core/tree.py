"""Nested tensors: map over them, flatten, move, cast, and pick a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "PathPart",
    "batch_size",
    "cast_dtype",
    "move_to_device",
    "select",
    "slice_batch",
    "to_tensors",
    "tree_flatten",
    "tree_map",
]

PathPart: TypeAlias = str | int


def tree_map(fn: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Return the tree with `fn` applied to each leaf (and to the matching leaves of `rest`).

    Dictionaries, lists and tuples, named ones too, are nodes; all else is a leaf, such as None, a
    data class, or a numpy array.

    Raises:
        ValueError: One of `rest` has other keys or lengths.
    """
    return pytree.tree_map(fn, tree, *rest)


def tree_flatten(tree: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """Return the leaves in a fixed order, and a function that puts new ones in their places."""
    leaves, spec = pytree.tree_flatten(tree)

    def unflatten(new_leaves: list[Any]) -> Any:
        return pytree.tree_unflatten(new_leaves, spec)

    return leaves, unflatten


def move_to_device(tree: Any, device: torch.device | str, *, non_blocking: bool = False) -> Any:
    """Return the tree with every tensor on the device; other leaves stay as they are."""
    kind = type(tree)
    if kind is dict:  # the usual batch, without the cost of a general traversal
        return {
            key: move_to_device(value, device, non_blocking=non_blocking)
            for key, value in tree.items()
        }
    if kind is Tensor:
        return tree.to(device, non_blocking=non_blocking)

    def move(leaf: Any) -> Any:
        return leaf.to(device, non_blocking=non_blocking) if isinstance(leaf, Tensor) else leaf

    return tree_map(move, tree)


def cast_dtype(tree: Any, dtype: torch.dtype) -> Any:
    """Return the tree with floating tensors cast; integers, booleans and others stay.

    Raises:
        ValueError: `dtype` is no floating one: values would be lost.
    """
    if not dtype.is_floating_point:
        msg = f"floating tensors are cast to floating dtypes only, not to {dtype}"
        raise ValueError(msg)

    def cast(leaf: Any) -> Any:
        floating = isinstance(leaf, Tensor) and leaf.is_floating_point()
        return leaf.to(dtype) if floating else leaf

    return tree_map(cast, tree)


def to_tensors(tree: Any) -> Any:
    """Return the tree with numpy arrays as tensors; the memory is shared where it is writable."""

    def convert(leaf: Any) -> Any:
        if not isinstance(leaf, np.ndarray) or leaf.dtype.kind not in "biuf":
            return leaf
        return torch.from_numpy(leaf if leaf.flags.writeable else leaf.copy())

    return tree_map(convert, tree)


def batch_size(batch: Mapping[str, Any]) -> int:
    """Return the number of samples: the first length of the batch's first tensor.

    Raises:
        ValueError: The batch has no tensor with a first dimension.
    """
    for value in batch.values():
        if isinstance(value, Tensor) and value.ndim:
            return value.shape[0]
    for leaf in tree_flatten(dict(batch))[0]:
        if isinstance(leaf, Tensor) and leaf.ndim:
            return leaf.shape[0]
    msg = f"a batch needs a tensor with one row per sample; it has the keys {sorted(batch)}"
    raise ValueError(msg)


def slice_batch(batch: Any, begin: int, end: int) -> Any:
    """Return samples `begin:end` of every tensor and list in a batch."""

    def cut(leaf: Any) -> Any:
        return leaf[begin:end] if isinstance(leaf, Tensor) and leaf.ndim else leaf

    return tree_map(cut, batch)


def select(tree: Any, path: PathPart | Sequence[PathPart]) -> Any:
    """Return the part of a tree at a path of mapping keys, sequence indices and attributes.

    Args:
        tree: Nested mappings, sequences and objects.
        path: One part, or several from the outside in. A string is never split: batch keys
            such as `observation.state` have dots.

    Raises:
        LookupError: A part is not there; the message names the path and the nearest keys.
    """
    parts = (path,) if isinstance(path, str | int) else tuple(path)
    value = tree
    for depth, part in enumerate(parts):
        try:
            value = _step_into(value, part)
        except (LookupError, AttributeError, TypeError) as exc:
            raise LookupError(_describe_missing(value, parts, depth)) from exc
    return value


def _step_into(value: Any, part: PathPart) -> Any:
    if isinstance(value, Mapping):
        return value[part]
    if isinstance(part, int):
        return value[part]
    if part.startswith("_"):
        raise AttributeError(part)
    return getattr(value, part)


def _describe_missing(value: Any, parts: tuple[PathPart, ...], depth: int) -> str:
    where = f"{list(parts)}" if len(parts) > 1 else repr(parts[0])
    if not isinstance(value, Mapping):
        return f"nothing at {where}: a {type(value).__name__} has no {parts[depth]!r}"
    keys = [str(key) for key in value]
    near = get_close_matches(str(parts[depth]), keys, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {sorted(keys)}"
    return f"nothing at {where}: no key {parts[depth]!r}{hint}"
