"""Messages of openpi's protocol: MessagePack with arrays. Nothing is ever unpickled.

Needs numpy and msgpack alone. An array is the map `{b"__ndarray__": True, b"data": bytes,
b"dtype": "<f4", b"shape": [...]}`, a number of numpy `{b"__npgeneric__": True, b"data": 1.5,
b"dtype": "<f4"}`.

Source: openpi_client.msgpack_numpy of github.com/Physical-Intelligence/openpi.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgpack
import numpy as np

__all__ = ["WireError", "pack", "unpack"]

_ARRAY, _NUMBER = b"__ndarray__", b"__npgeneric__"
_DTYPES = re.compile(r"[<>|=]?(f[248]|[iu][1248]|b1)")
_LONGEST_LIST = 65_536
_MOST_KEYS = 1_024
_MOST_AXES = 16


class WireError(ValueError):
    """Bytes that are no message."""


def pack(value: Any) -> bytes:
    """Return the bytes of a message of maps, lists, text, numbers and arrays."""
    packed: bytes = msgpack.packb(value, default=_encode)
    return packed


def unpack(data: bytes) -> Any:
    """Return the message that some bytes are; arrays are views into the bytes and read-only.

    Raises:
        WireError: They are none, or a part is too long, or an array is not what it says.
    """
    try:
        return msgpack.unpackb(
            data,
            object_hook=_decode,
            ext_hook=_refuse,
            max_array_len=_LONGEST_LIST,
            max_map_len=_MOST_KEYS,
        )
    except WireError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as exc:
        reason = str(exc) or type(exc).__name__
        msg = f"the message is not MessagePack: {reason}"
        raise WireError(msg) from exc


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind not in "fiub":
        msg = f"arrays of {value.dtype} cannot be sent"
        raise TypeError(msg)
    if isinstance(value, np.ndarray):
        return {
            _ARRAY: True,
            b"data": value.tobytes(),
            b"dtype": value.dtype.str,
            b"shape": value.shape,
        }
    if isinstance(value, np.generic):
        return {_NUMBER: True, b"data": value.item(), b"dtype": value.dtype.str}
    msg = f"{type(value).__name__} cannot be sent"
    raise TypeError(msg)


def _decode(found: dict[Any, Any]) -> Any:
    if _ARRAY in found:
        return _array(found.get(b"data"), _dtype(found.get(b"dtype")), found.get(b"shape"))
    if _NUMBER in found:
        number = found.get(b"data")
        if not isinstance(number, int | float):
            msg = f"a number is sent as {type(number).__name__}"
            raise WireError(msg)
        return _dtype(found.get(b"dtype")).type(number)
    return found


def _dtype(name: Any) -> np.dtype[Any]:
    text = name.decode("ascii", "replace") if isinstance(name, bytes) else name
    if not isinstance(text, str) or not _DTYPES.fullmatch(text):
        msg = f"an array has the dtype {text!r:.40}; floats, integers and booleans can be sent"
        raise WireError(msg)
    return np.dtype(text)


def _array(data: Any, dtype: np.dtype[Any], shape: Any) -> Any:
    is_shape = (
        isinstance(shape, list | tuple)
        and len(shape) <= _MOST_AXES
        and all(isinstance(size, int) and 0 <= size < 2**31 for size in shape)
    )
    if not is_shape or not isinstance(data, bytes):
        msg = "an array has no proper shape or data"
        raise WireError(msg)
    if math.prod(shape) * dtype.itemsize != len(data):
        msg = f"an array of {dtype} {tuple(shape)} has {len(data)} bytes of data"
        raise WireError(msg)
    return np.frombuffer(data, dtype).reshape(shape)


def _refuse(code: int, data: bytes) -> Any:
    del data
    msg = f"the message has an extension type ({code}), which is not used here"
    raise WireError(msg)
