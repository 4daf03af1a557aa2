"""Looks at the episodes that producers send: what is kept is whole, and what is not says why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trainer_core.errors import UserError
from trainer_ray.online.ring import Column

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Incoming",
    "RefusedError",
    "describe_keys",
    "read_episode",
    "read_keys",
    "require_sender",
]

_STORABLE = "biuf"  # booleans, integers, floating-point numbers
_MOST = 1 << 62


class RefusedError(Exception):
    """An episode that cannot be kept; the message says why."""


class Incoming(NamedTuple):
    """An episode that was sent.

    Attributes:
        columns: The frames of each key, `(T, *shape)`, in the types of the buffer.
        is_success: Whether it solved its task.
        version: Step of the weights that acted; -1: they were not the learner's.
        priority: Priority of its frames; None: the largest so far.
    """

    columns: Mapping[str, NDArray[Any]]
    is_success: bool
    version: int
    priority: float | None

    @property
    def length(self) -> int:
        """Frames."""
        return len(next(iter(self.columns.values())))


def require_sender(producer: Any, number: Any, episodes: Any) -> None:
    """Refuse an add that no producer can mean.

    Raises:
        UserError: The producer is no name, the number no number, or the episodes are no list.
    """
    if not isinstance(producer, str) or not producer:
        msg = f"replay buffer: a producer is a name, not {producer!r}"
        raise UserError(msg)
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        msg = f"replay buffer: the number of an add is 0 or more, not {number!r}"
        raise UserError(msg)
    if not isinstance(episodes, list | tuple):
        msg = f"replay buffer: an add is a list of episodes, not a {type(episodes).__name__}"
        raise UserError(msg)


def read_keys(keys: Mapping[str, Mapping[str, Any]]) -> dict[str, Column]:
    """Return what a buffer's description says of each key.

    Raises:
        UserError: There is no key, or one is of numbers that a file cannot hold.
    """
    columns = {}
    for key, about in keys.items():
        dtype = np.dtype(about["dtype"])
        if dtype.kind not in _STORABLE:
            msg = f"replay buffer: the key {key!r} is {dtype}; it must be of plain numbers"
            raise UserError(msg)
        columns[key] = Column(tuple(int(size) for size in about["shape"]), dtype)
    if not columns:
        msg = "replay buffer: an episode must have a key"
        raise UserError(msg)
    return columns


def describe_keys(keys: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a buffer's description in one spelling, as JSON data."""
    return {
        key: {
            "shape": [int(size) for size in about["shape"]],
            "dtype": np.dtype(about["dtype"]).name,
            "offsets": None if (found := about.get("offsets")) is None else [int(n) for n in found],
        }
        for key, about in keys.items()
    }


def read_episode(sent: Any, columns: Mapping[str, Column], capacity: int) -> Incoming:
    """Return an episode after looking at every number of it.

    Args:
        sent: `columns`, `success`, `version`, and where wanted `priority` and `error`; columns that
            the buffer does not have are left out.
        columns: What the buffer has.
        capacity: Frames that the buffer holds.

    Raises:
        RefusedError: It cannot be kept; the message names the key and the step.
    """
    if not isinstance(sent, Mapping) or not isinstance(sent.get("columns"), Mapping):
        msg = "an episode is a mapping with 'columns', itself a mapping of arrays by key"
        raise RefusedError(msg)
    if (error := sent.get("error", "")) is not None and str(error):
        msg = f"the producer says: {error}"
        raise RefusedError(msg)
    given = sent["columns"]
    if missing := [key for key in columns if key not in given]:
        there = ", ".join(sorted(map(str, given))) or "none"
        msg = f"the key {missing[0]!r} is missing; there are {there}"
        raise RefusedError(msg)
    found = {key: _read_column(key, given[key], column) for key, column in columns.items()}
    _require_length({key: len(column) for key, column in found.items()}, capacity)
    return Incoming(
        found, _success(sent.get("success")), _version(sent.get("version", -1)), _priority(sent)
    )


def _read_column(key: str, given: Any, column: Column) -> NDArray[Any]:
    try:
        values = np.asarray(given)
    except (ValueError, TypeError) as error:
        msg = f"{key!r} is no array: {error}"
        raise RefusedError(msg) from error
    if values.ndim == 0 or values.shape[1:] != column.shape:
        wanted = ", ".join(["steps", *map(str, column.shape)])
        msg = f"{key!r} has the shape {values.shape}; expected ({wanted})"
        raise RefusedError(msg)
    if not _fits(values.dtype, column.dtype):
        msg = f"{key!r} is {values.dtype}, which does not fit into {column.dtype}"
        raise RefusedError(msg)
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):  # becomes inf, which is refused
            values = values.astype(column.dtype, copy=False)
        is_finite = np.isfinite(values).reshape(len(values), math.prod(column.shape)).all(axis=1)
        if not is_finite.all():
            step = int(np.argmin(is_finite))
            numbers = np.ravel(values[step])
            value = numbers[~np.isfinite(numbers)][0]
            msg = f"{key!r} is {value} at step {step}; expected finite numbers"
            raise RefusedError(msg)
    return values.astype(column.dtype, copy=False)


def _fits(given: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Return whether numbers stay what they are, to the precision that is kept."""
    if given.kind == "f" and wanted.kind == "f":
        return True
    return given.kind in _STORABLE and np.can_cast(given, wanted, "safe")


def _require_length(lengths: Mapping[str, int], capacity: int) -> None:
    first, length = next(iter(lengths.items()))
    for key, other in lengths.items():
        if other != length:
            msg = f"{key!r} has {other} steps and {first!r} has {length}"
            raise RefusedError(msg)
    if length == 0:
        msg = "it has no steps"
        raise RefusedError(msg)
    if length > capacity:
        msg = f"it has {length} steps, and the buffer holds {capacity}"
        raise RefusedError(msg)


def _success(given: Any) -> bool:
    if not isinstance(given, bool | np.bool_):
        msg = f"'success' is true or false, not {given!r}"
        raise RefusedError(msg)
    return bool(given)


def _version(given: Any) -> int:
    if (
        isinstance(given, bool)
        or not isinstance(given, int | np.integer)
        or not -1 <= given < _MOST
    ):
        msg = f"'version' is the step of the weights that acted, or -1, not {given!r}"
        raise RefusedError(msg)
    return int(given)


def _priority(sent: Mapping[str, Any]) -> float | None:
    given = sent.get("priority")
    if given is None:
        return None
    if not isinstance(given, int | float | np.integer | np.floating) or not 0 <= given < np.inf:
        msg = f"'priority' is a finite number of at least 0, not {given!r}"
        raise RefusedError(msg)
    return float(given)
