"""Messages: arrays travel as they are, and nothing else gets in."""

from __future__ import annotations

import pickle
from contextlib import suppress
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments_il.serving.wire import WireError, pack, unpack


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.zeros((0, 3), np.float64),
        np.array(5, np.int64),
        np.array([True, False]),
        np.full((2, 2, 3), 255, np.uint8),
        np.arange(3, dtype=">i4"),
    ],
    ids=["floats", "empty", "scalar", "booleans", "pixels", "big-endian"],
)
def test_arrays_travel_unchanged(value: Any) -> None:
    (found,) = unpack(pack([value]))
    np.testing.assert_array_equal(found, value)
    assert found.dtype == value.dtype


def test_numbers_of_numpy_keep_their_type() -> None:
    assert isinstance(unpack(pack({"x": np.float32(1.5)}))["x"], np.float32)


def array(**changes: Any) -> bytes:
    fields = {"__ndarray__": True, "data": bytes(8), "dtype": "<f4", "shape": [2]} | changes
    message: bytes = msgpack.packb({"x": {key.encode(): value for key, value in fields.items()}})
    return message


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (array(dtype="|O"), "an array has the dtype '|O'; floats, integers and booleans can be"),
        (array(dtype="V8"), "an array has the dtype 'V8'"),
        (array(dtype="i4,i4"), "an array has the dtype 'i4,i4'"),
        (array(dtype=7), "an array has the dtype 7"),
        (array(shape=[3]), "an array of float32 (3,) has 8 bytes of data"),
        (array(shape=[2**40, 2**40]), "an array has no proper shape or data"),
        (array(shape=[-1]), "an array has no proper shape or data"),
        (array(data=[1]), "an array has no proper shape or data"),
        (pickle.dumps(np.zeros(3)), "the message is not MessagePack"),
        (b"", "the message is not MessagePack"),
        (b"\x93\x01", "the message is not MessagePack"),
        (b"\x91" * 100_000, "the message is not MessagePack"),
        (msgpack.packb(msgpack.ExtType(5, b"x")), "the message has an extension type (5)"),
        (msgpack.packb([0] * 70_000), "the message is not MessagePack: 70000 exceeds"),
        (
            msgpack.packb({b"__npgeneric__": True, b"data": "x", b"dtype": "<f4"}),
            "a number is sent as str",
        ),
    ],
)
def test_what_is_no_message_is_refused_with_its_reason(message: bytes, reason: str) -> None:
    with pytest.raises(WireError) as error:
        unpack(message)
    assert str(error.value).startswith(reason)


@given(st.binary(max_size=200))
def test_random_bytes_are_a_message_or_refused(data: bytes) -> None:
    with suppress(WireError):
        unpack(data)


@pytest.mark.parametrize("value", [np.array([None]), np.array([1j]), object()])
def test_other_things_cannot_be_sent(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be sent"):
        pack(value)
