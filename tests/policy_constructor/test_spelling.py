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


@pytest.mark.parametrize(
    ("name", "candidates", "first"),
    [
        ("rl", ["lr", "eps", "betas"], "lr"),
        ("urn", ["run", "runner"], "run"),
        ("oi", ["io", "loss"], "io"),
        ("max_step", ["max_epochs", "max_steps"], "max_steps"),
        ("layerrs", ["players", "layers"], "layers"),
        ("2l", ["l2"], "l2"),
    ],
)
def test_one_slip_comes_before_mere_likeness(name: str, candidates: list[str], first: str) -> None:
    assert nearest(name, candidates)[0] == first


def test_single_letters_are_not_taken_for_slips() -> None:
    assert nearest("z", ["x", "y"]) == ()
