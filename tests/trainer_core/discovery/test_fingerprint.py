from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.discovery.fingerprint import record_wheels, wheel_differences
from trainer_core.discovery.plugins import discover

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOSSES = "trainer_core.losses"


def record(*dists: str) -> dict[str, Any]:
    return record_wheels(discover(), dists)


def test_record_names_version_and_origin_of_each_wheel(fake_wheel: Callable[..., Path]) -> None:
    site = fake_wheel("acme-loss", {LOSSES: {"slope": "acme:Slope"}})
    origin = '{"url": "https://x", "vcs_info": {"commit_id": "abc"}}'
    (site / "acme_loss-1.0.dist-info" / "direct_url.json").write_text(origin)

    wheels = record("acme-loss", "not-installed")["wheels"]

    assert list(wheels) == ["acme-loss"]
    assert wheels["acme-loss"] | {"entry_points": ""} == {
        "version": "1.0",
        "entry_points": "",
        "editable": None,
        "commit": "abc",
    }


def test_digest_depends_on_the_entry_points_alone(fake_wheel: Callable[..., Path]) -> None:
    site = fake_wheel("acme-loss", {LOSSES: {"slope": "acme:Slope", "bend": "acme:Bend"}})
    entry_points = site / "acme_loss-1.0.dist-info" / "entry_points.txt"
    first = record("acme-loss")
    entry_points.write_text(f"[{LOSSES}]\nbend=acme:Bend\n\nslope = acme : Slope\n")
    same = record("acme-loss")
    entry_points.write_text(f"[{LOSSES}]\nbend=acme:Bend\n")

    assert first["digest"] == same["digest"] != record("acme-loss")["digest"]


@pytest.mark.parametrize(
    ("before", "now", "clauses"),
    [
        ({"version": "1.0"}, {"version": "1.1"}, ["acme 1.0 is now 1.1"]),
        ({"entry_points": "a"}, {"entry_points": "b"}, ["acme 1.0 declares other entry points"]),
        ({"commit": "a"}, {"commit": "b"}, ["acme 1.0 is of another commit"]),
        ({"editable": "/a"}, {"editable": "/b"}, []),
        ({}, None, ["acme 1.0 is not used any more"]),
        (None, {}, ["acme 1.0 is new"]),
    ],
)
def test_difference_of_two_records_is_put_into_words(
    before: dict[str, str] | None, now: dict[str, str] | None, clauses: list[str]
) -> None:
    common: dict[str, str | None] = {"version": "1.0", "entry_points": "same", "commit": None}
    records = [
        {"wheels": {} if wheel is None else {"acme": {**common, **wheel}}}
        for wheel in (before, now)
    ]

    assert wheel_differences(*records) == clauses
