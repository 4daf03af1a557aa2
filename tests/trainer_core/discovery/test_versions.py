from __future__ import annotations

import pytest

from trainer_core.discovery.compatibility import unmet
from trainer_core.discovery.versions import is_within, requirement


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("1.2.0", ""),
        ("1.2.0", ">=1.2,<2"),
        ("1.10", ">1.9"),
        ("1.2", "==1.2.0"),
        ("1.2.5", "==1.2.*"),
        ("1.4", "~=1.2"),
        ("1.2.9", "~=1.2.3"),
        ("2.0rc1", "<2.1"),
        ("1.2+cpu", "==1.2"),
        ("1.2", "!=1.3,!=1.4.*"),
        ("unreadable", ">=1"),
        ("1.2", "no range at all"),
    ],
)
def test_version_lies_within_the_range(version: str, wanted: str) -> None:
    assert is_within(version, wanted)


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("1.1", ">=1.2,<2"),
        ("2.0", ">=1.2,<2"),
        ("2.0rc1", "<2"),
        ("2.0", "~=1.2"),
        ("1.3.0", "~=1.2.3"),
        ("1.3", "==1.2.*"),
        ("1.4.2", "!=1.4.*"),
        ("1.2rc1", ">=1.2"),
        ("1.2.dev3", ">=1.2"),
    ],
)
def test_version_lies_outside_the_range(version: str, wanted: str) -> None:
    assert not is_within(version, wanted)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("trainer-core>=1,<2", ("trainer-core", ">=1,<2")),
        ("trainer-core[plots] (>=1)", ("trainer-core", ">=1")),
        ('trainer-core>=1; python_version > "3"', ("trainer-core", ">=1")),
        ('trainer-core>=9; extra == "all"', ("", "")),
        ("trainer-core", ("trainer-core", "")),
    ],
)
def test_requirement_is_split(text: str, parts: tuple[str, str]) -> None:
    assert requirement(text) == parts


def test_range_that_leaves_us_out_names_both_versions() -> None:
    found = unmet(["numpy>=1", "trainer_core>=9,<10"])

    assert str(found) == "it requires trainer-core>=9,<10, and this is trainer-core 0.1.0"
    assert unmet(["numpy>=99", "trainer-core>=0.1,<0.2", "policy-constructor"]) is None
