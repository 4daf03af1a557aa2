from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from policy_constructor.config.memory import from_plain
from policy_constructor.config.report import Report
from policy_constructor.signatures.constraints import Bounds
from policy_constructor.signatures.signature import read_signature
from policy_constructor.signatures.values import find_mismatch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("Positive", 0, "expected an integer >= 1, found 0"),
        ("Count", -1, "expected an integer >= 0, found -1"),
        ("PositiveNumber", 0.0, "expected a number > 0, found 0.0"),
        ("NonNegative", -0.5, "expected a number >= 0, found -0.5"),
        ("Fraction", 1.0, "expected a number >= 0 and < 1, found 1.0"),
        ("Probability", 1.5, "expected a number >= 0 and <= 1, found 1.5"),
    ],
)
def test_value_outside_a_named_range_is_found(
    name: str, value: float, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"ranged_{name}.py").write_text(
        f"from policy_constructor.ranges import {name}\nclass Part:\n"
        f"    def __init__(self, size: {name} | None = None) -> None: ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    signature = read_signature(f"ranged_{name}:Part")
    assert signature is not None
    found = find_mismatch(signature.parameters["size"].annotation, from_plain(value, Report()), ())
    assert found is not None
    assert found.message == message.replace(", found", " or null, found")


@pytest.mark.parametrize(
    ("bounds", "value", "fits"),
    [
        (Bounds(multiple_of=4), 6, False),
        (Bounds(multiple_of=4), 8, True),
        (Bounds(min_length=2), "a", False),
        (Bounds(max_length=2), [1, 2], True),
        (Bounds(pattern="^a"), "ba", False),
        (Bounds(pattern="("), "ba", True),
        (Bounds(allow_inf_nan=False), float("inf"), False),
        (Bounds(ge=1), None, True),
        (Bounds(ge=2), True, True),
    ],
)
def test_bounds_are_those_of_pydantic(bounds: Bounds, value: object, fits: bool) -> None:
    assert bounds.allows(value) is fits
