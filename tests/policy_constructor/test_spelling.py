from __future__ import annotations

import pytest

from policy_constructor.spelling import nearest


@pytest.mark.parametrize(
    ("name", "candidates", "found"),
    [
        ("widht", ["width", "depth", "height"], ("width",)),
        ("Width", ["width", "WIDTH"], ("WIDTH", "width")),
        ("width", ["width"], ()),
        ("x", ["completely"], ()),
        ("a" * 300, ["a" * 300], ()),
    ],
)
def test_nearest_spellings_ignore_case_and_the_name(
    name: str, candidates: list[str], found: tuple[str, ...]
) -> None:
    assert nearest(name, candidates) == found


def test_number_of_suggestions_is_limited() -> None:
    assert len(nearest("item", ["item1", "item2", "item3"], n=2)) == 2
