"""Nested state of any shape <-> JSON data and a flat dict of tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from trainer_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["pack", "unpack"]

_TENSOR, _TUPLE, _ITEMS, _COUNTER = "$tensor", "$tuple", "$items", "$counter"
_KEYS = (str, int, float, bool, type(None))


def pack(tree: Any, name: str = "state") -> tuple[Any, dict[str, Tensor]]:
    """Split nested state into JSON data and tensors.

    Args:
        tree: Dicts (of any plain keys), lists, tuples, scalars, tensors and arrays.
        name: What a message calls it.

    Returns:
        JSON data in which a tensor is `{"$tensor": path}`, and the tensors by path.

    Raises:
        CheckpointError: There is something else in it; the message names its path.
    """
    tensors: dict[str, Tensor] = {}
    return _pack(tree, name, tensors), tensors


def _pack(tree: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    if isinstance(tree, np.generic):
        return tree.item()
    if isinstance(tree, Tensor):
        tensors[path] = tree
        return {_TENSOR: path}
    if isinstance(tree, Mapping):
        return _pack_mapping(tree, path, tensors)
    if isinstance(tree, list | tuple):
        packed = [_pack(value, f"{path}.{i}", tensors) for i, value in enumerate(tree)]
        return packed if isinstance(tree, list) else {_TUPLE: packed}
    msg = f"{path} is a {type(tree).__name__}, which a checkpoint cannot hold"
    raise CheckpointError(msg)


def _pack_mapping(tree: Mapping[Any, Any], path: str, tensors: dict[str, Tensor]) -> Any:
    packed = {key: _pack(value, f"{path}.{key}", tensors) for key, value in tree.items()}
    if isinstance(tree, Counter):
        return {_COUNTER: [[key, value] for key, value in packed.items()]}
    if all(isinstance(key, str) and not key.startswith("$") for key in packed):
        return packed
    return {_ITEMS: [[key, value] for key, value in packed.items()]}


def unpack(data: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return what `pack` was given.

    Raises:
        CheckpointError: A tensor is missing, or what follows a mark is not what `pack` writes.
    """
    if isinstance(data, list):
        return [unpack(value, tensors) for value in data]
    if not isinstance(data, dict):
        return data
    if len(data) == 1:
        (mark, content), *_ = data.items()
        if mark in _UNPACKERS:
            return _UNPACKERS[mark](content, tensors)
    return {key: unpack(value, tensors) for key, value in data.items()}


def _unpack_tensor(name: Any, tensors: Mapping[str, Tensor]) -> Tensor:
    if not isinstance(name, str) or name not in tensors:
        msg = f"the tensor {name!r} is missing"
        raise CheckpointError(msg)
    return tensors[name]


def _unpack_tuple(values: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, ...]:
    _require(isinstance(values, list), _TUPLE, values)
    return tuple(unpack(value, tensors) for value in values)


def _unpack_items(items: Any, tensors: Mapping[str, Tensor]) -> dict[Any, Any]:
    _require(isinstance(items, list) and all(map(_is_pair, items)), _ITEMS, items)
    return {key: unpack(value, tensors) for key, value in items}


def _is_pair(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and isinstance(item[0], _KEYS)


def _require(is_right: bool, mark: str, content: Any) -> None:
    if not is_right:
        msg = f"{mark!r} is followed by {str(content)[:60]!r}, which no checkpoint has"
        raise CheckpointError(msg)


_UNPACKERS: dict[str, Callable[[Any, Mapping[str, Tensor]], Any]] = {
    _TENSOR: _unpack_tensor,
    _TUPLE: _unpack_tuple,
    _ITEMS: _unpack_items,
    _COUNTER: lambda items, tensors: Counter(_unpack_items(items, tensors)),
}
