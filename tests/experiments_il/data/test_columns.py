from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from experiments_il.data.arrow import pa
from experiments_il.data.columns import image_blobs, numeric_values, string_codes
from experiments_il.data.lerobot_format import Feature
from trainer_core.errors import DatasetError

PAIR = Feature("x", "float32", (2,))
ROWS = [[0.5, 1.0], [2.0, 3.0], [4.0, 5.0]]


def place(row: int) -> str:
    return f"frame {row}"


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float64()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float32(), 2),
    ],
)
def test_every_kind_of_list_reads_alike(kind: Any) -> None:
    column = pa.chunked_array([pa.array(ROWS[:1], kind), pa.array(ROWS, kind)[1:]])
    values = numeric_values(column, PAIR, place)
    assert values.dtype == np.float32
    assert values.tolist() == ROWS


@pytest.mark.parametrize("kind", [pa.float32(), pa.list_(pa.float32())])
def test_scalar_may_be_a_list_of_one(kind: Any) -> None:
    data = [1.0, 2.0] if kind == pa.float32() else [[1.0], [2.0]]
    values = numeric_values(pa.array(data, kind), Feature("x", "float32", (1,)), place)
    assert values.tolist() == [1.0, 2.0]


def test_nested_lists_become_a_matrix_per_row() -> None:
    rows = [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 10], [11, 12]]]
    values = numeric_values(pa.array(rows), Feature("x", "int64", (3, 2)), place)
    assert values.tolist() == rows


@pytest.mark.parametrize(
    ("column", "feature", "message"),
    [
        ([[1.0, 2.0], None], PAIR, "'x' is null at frame 1"),
        ([[1.0, 2.0], [3.0, None]], PAIR, "'x' is null at frame 1"),
        (
            [[1.0, 2.0], [3.0]],
            PAIR,
            "'x' has length 1 instead of 2 at frame 1 (declared shape [2])",
        ),
        ([1.0, 2.0], PAIR, "'x' holds double, declared shape [2]"),
        (
            [[[1.0]]],
            Feature("x", "float32", (1,)),
            "'x' is nested deeper than its declared shape [1]",
        ),
        ([1.5], Feature("x", "int64", (1,)), "'x' holds double, which does not fit int64"),
        ([300], Feature("x", "uint8", (1,)), "'x' holds int64, which does not fit uint8"),
        (["1"], Feature("x", "float32", (1,)), "'x' holds string, which does not fit float32"),
        ([True], Feature("x", "float32", (1,)), "'x' holds bool, which does not fit float32"),
    ],
)
def test_wrong_column_names_value_and_frame(column: Any, feature: Feature, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        numeric_values(pa.array(column), feature, place)
    assert str(caught.value) == message


def test_strings_become_codes_and_words() -> None:
    codes, words = string_codes(pa.array(["a", "b", "a"]), Feature("x", "string", (1,)), place)
    assert (codes.tolist(), words) == ([0, 1, 0], ["a", "b"])


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([b"png"], "'x' holds binary; images are struct<bytes, path>"),
        ([{"bytes": None, "path": "a.png"}], "'x' is null at frame 0"),
        ([{"bytes": b"png", "path": None}, None], "'x' is null at frame 1"),
    ],
)
def test_camera_column_without_bytes_is_refused(column: Any, message: str) -> None:
    array = pa.array(column)
    if message.startswith("'x' is"):
        array = array.cast(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    with pytest.raises(DatasetError) as caught:
        image_blobs(array, Feature("x", "image", (1, 1, 3)), place)
    assert str(caught.value) == message
