"""A client's message -> arrays that fit the policy, or a sentence that says what does not."""

from __future__ import annotations

from collections import deque
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.serving.description import IGNORED_KEYS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from experiments_il.serving.description import ObservationSpec, PolicyDescription

__all__ = ["RESET", "History", "ObservationError"]

RESET = "reset"
_IMAGE_AXES = 3


class ObservationError(ValueError):
    """An observation that does not fit the policy."""


class History:
    """The observations of one connection: what they must look like, and the newest frames.

    A key is sent as its newest frame, and the server keeps the frames before it (the first frame
    of an episode stands for those that are missing); or as the whole history `(T, ...)`.

    Args:
        description: Of the policy.
    """

    def __init__(self, description: PolicyDescription) -> None:
        self._description = description
        self._frames: dict[str, deque[NDArray[Any]]] = {}

    def forget(self) -> None:
        """Begin an episode."""
        self._frames.clear()

    def add(self, message: Any) -> dict[str, NDArray[Any]]:
        """Take a message; return the history `(T, ...)` of every key, oldest first.

        Nothing is kept of a message that is refused.

        Raises:
            ObservationError: A key is missing, unknown, or of another shape or dtype, or a value
                is not finite.
        """
        specs = self._description.observation
        if not isinstance(message, dict):
            msg = f"an observation is a map of keys, not {type(message).__name__}"
            raise ObservationError(msg)
        self._check_keys(message)
        checked = {key: self._check(key, message[key], spec) for key, spec in specs.items()}
        return {key: self._extend(key, value) for key, value in checked.items()}

    def _check_keys(self, message: dict[Any, Any]) -> None:
        specs = self._description.observation
        known = {*specs, *IGNORED_KEYS, RESET}
        for key in message:
            if key not in known:
                near = get_close_matches(str(key), list(specs), n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                msg = f"the policy reads no {key!r:.80}{hint} It reads {', '.join(specs)}"
                raise ObservationError(msg if near else msg.replace(" It reads", "; it reads"))
        missing = [key for key in specs if key not in message]
        if missing:
            msg = f"the observation has no {', '.join(missing)}; it has {_names(message)}"
            raise ObservationError(msg)

    def _check(self, key: str, value: Any, spec: ObservationSpec) -> NDArray[Any]:
        array = _to_array(key, value)
        self._check_shape(key, array, spec)
        converted = _convert(key, array, spec.dtype)
        if converted.dtype.kind == "f" and not np.isfinite(converted).all():
            wrong = np.argwhere(~np.isfinite(converted))
            msg = f"{key} has {_count(len(wrong))} not finite, the first at {wrong[0].tolist()}"
            raise ObservationError(msg)
        return converted

    def _check_shape(self, key: str, array: NDArray[Any], spec: ObservationSpec) -> None:
        frames = self._description.n_obs_steps
        if spec.shape is None:
            if frames > 1 and array.shape[:1] != (frames,):
                msg = (
                    f"{key} has the shape {array.shape}, expected {frames} frames on axis 0: the "
                    "checkpoint does not tell the shape of a frame"
                )
                raise ObservationError(msg)
            return
        if array.shape not in {spec.shape, (frames, *spec.shape)}:
            whole = f", or {(frames, *spec.shape)} with the history" if frames > 1 else ""
            hint = _layout_hint(array.shape, spec.shape)
            msg = f"{key} has the shape {array.shape}, expected {spec.shape}{whole}{hint}"
            raise ObservationError(msg)

    def _extend(self, key: str, value: NDArray[Any]) -> NDArray[Any]:
        frames, spec = self._description.n_obs_steps, self._description.observation[key]
        is_whole = value.shape != spec.shape if spec.shape is not None else frames > 1
        if is_whole:
            self._frames[key] = deque(value, maxlen=frames)
            return value
        known = self._frames.setdefault(key, deque(maxlen=frames))
        known.extend([value] * (1 if known else frames))
        return np.stack(known)


def _to_array(key: str, value: Any) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "fiub":
        msg = f"{key} is {type(value).__name__}, expected an array of numbers"
        raise ObservationError(msg)
    return array


def _convert(key: str, array: NDArray[Any], dtype: str | None) -> NDArray[Any]:
    """Return what the policy takes: numbers as float32, pixels as bytes."""
    wanted = dtype or ("uint8" if array.dtype == np.uint8 else "float32")
    if wanted == "uint8" and array.dtype != np.uint8:
        msg = f"{key} has the dtype {array.dtype}, expected uint8 (pixels of 0 to 255)"
        raise ObservationError(msg)
    if wanted.startswith("float") and array.dtype.kind == "b":
        msg = f"{key} has the dtype bool, expected {wanted}"
        raise ObservationError(msg)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is said so
        return array.astype("float32" if wanted.startswith(("float", "bfloat")) else wanted)


def _layout_hint(found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    if len(expected) == _IMAGE_AXES and found[-3:] == (*expected[1:], expected[0]):
        return ": images are sent channels first"
    return ""


def _names(message: dict[Any, Any]) -> str:
    return ", ".join(str(key)[:80] for key in list(message)[:20]) or "nothing"


def _count(number: int) -> str:
    return "1 value that is" if number == 1 else f"{number} values that are"
