"""Every status that can be told without an import, in any order of the folders."""

from __future__ import annotations

import json
import random
import sys
from typing import TYPE_CHECKING

import pytest

from policy_constructor.discovery.metadata import scan
from policy_constructor.discovery.registry import IncompatibleError
from policy_constructor.errors import ConfigError
from trainer_core.discovery.plugins import Plugins, discover

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOSSES = "trainer_core.losses"


def statuses(dist: str) -> dict[str, str]:
    return {row.key: row.status for row in discover().records() if row.dist == dist}


def require(site: Path, text: str) -> None:
    (info,) = site.glob("*.dist-info")
    with (info / "METADATA").open("a") as file:
        file.write(f"Requires-Dist: {text}\n")


def make_editable(site: Path, source: Path, entry_points: str = "", head: str = "") -> None:
    (info,) = site.glob("*.dist-info")
    origin = {"url": source.as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(origin))
    if source.is_dir():
        text = f'[project]\n{head}\n[project.entry-points."{LOSSES}"]\n{entry_points}'
        (source / "pyproject.toml").write_text(text)


def test_wheel_for_a_later_api_is_incompatible(fake_wheel: Callable[..., Path]) -> None:
    require(fake_wheel("acme-loss", {LOSSES: {"slope": "acme:Slope"}}), "trainer-core>=2,<3")

    assert statuses("acme-loss") == {"slope": "incompatible"}
    with pytest.raises(IncompatibleError) as caught:
        discover().find("slope", ["loss"])
    assert str(caught.value) == (
        "loss 'slope' of acme-loss 1.0 cannot be used: it requires trainer-core>=2,<3, "
        "and this is trainer-core 0.1.0"
    )


def test_incompatible_wheel_takes_no_name_from_another(fake_wheel: Callable[..., Path]) -> None:
    require(fake_wheel("acme-a", {LOSSES: {"slope": "acme_a:Slope"}}), "trainer-core>=2,<3")
    fake_wheel("acme-b", {LOSSES: {"slope": "acme_b:Slope"}})

    assert discover().find("slope", ["loss"]).dist == "acme-b"


def test_entry_point_that_its_source_dropped_is_stale(
    fake_wheel: Callable[..., Path], tmp_path: Path
) -> None:
    site = fake_wheel("acme-loss", {LOSSES: {"slope": "acme:Slope", "bend": "acme:Bend"}})
    make_editable(site, tmp_path, 'slope = "acme:Slope"\nnew = "acme:New"\n')

    assert statuses("acme-loss") == {"slope": "ok", "bend": "stale", "new": "stale"}


def test_editable_without_its_folder_is_stale(
    fake_wheel: Callable[..., Path], tmp_path: Path
) -> None:
    make_editable(fake_wheel("acme-loss", {LOSSES: {"slope": "acme:Slope"}}), tmp_path / "gone")

    assert statuses("acme-loss") == {"slope": "stale"}


@pytest.mark.parametrize("head", ['dynamic = ["entry-points"]', 'version = "1.0"'])
def test_editable_in_step_with_its_source_is_ok(
    head: str, fake_wheel: Callable[..., Path], tmp_path: Path
) -> None:
    site = fake_wheel("acme-loss", {LOSSES: {"slope": "acme:Slope"}})
    make_editable(site, tmp_path, 'slope = "acme:Slope"\n', head)

    assert statuses("acme-loss") == {"slope": "ok"}


def test_statuses_do_not_depend_on_the_order_of_folders(fake_wheel: Callable[..., Path]) -> None:
    for name in ("acme-a", "acme-b", "acme-c"):
        fake_wheel(name, {LOSSES: {"slope": "acme:Slope", name: "acme:Own"}})
    expected = Plugins(scan()).records()
    shuffled = list(sys.path)

    for seed in range(10):
        random.Random(seed).shuffle(shuffled)
        rows = Plugins(scan(shuffled)).records()
        assert [row for row in rows if "acme" in row.dist] == [
            row for row in expected if "acme" in row.dist
        ]


def recipe_wheel(fake_wheel: Callable[..., Path], name: str) -> Path:
    folder = name.replace("-", "_")
    site = fake_wheel(name, {"trainer_core.recipes": {"walks": folder}})
    (site / folder).mkdir()
    (site / folder / "__init__.py").touch()
    (site / folder / "walk.yaml").write_text("# Walks home.\nrun: {name: walk}\n")
    return site / folder / "walk.yaml"


def test_recipes_of_two_wheels_need_the_wheel(fake_wheel: Callable[..., Path]) -> None:
    for name in ("steps-a", "steps-b"):
        file = recipe_wheel(fake_wheel, name)

    assert statuses("steps-b") == {"walks": "conflict"}
    assert discover().find_recipe("steps-b::walks/walk") == file
    assert {"steps-a::walks/walk", "steps-b::walks/walk"} <= set(discover().recipe_names())
    with pytest.raises(ConfigError) as caught:
        discover().find_recipe("walks/walk")
    assert str(caught.value) == (
        "error: recipes 'walks' are provided by steps-a 1.0 and steps-b 1.0; "
        "write 'steps-a::walks/walk' or 'steps-b::walks/walk'"
    )


def test_switched_off_wheel_leaves_recipes_to_the_other(
    fake_wheel: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("steps-a", "steps-b"):
        file = recipe_wheel(fake_wheel, name)
    monkeypatch.setenv("TRAINER_DISABLE_PLUGINS", "steps-a")

    assert discover().find_recipe("walks/walk") == file


def test_hook_of_a_wheel_for_a_later_api_is_left_out(fake_wheel: Callable[..., Path]) -> None:
    require(fake_wheel("acme-h", {"trainer_core.hooks": {"h": "acme_later"}}), "trainer-core>=2")
    plugins = discover()

    plugins.hook_manager()

    assert plugins.hook_problems == [
        (
            "hook plugin 'h' of acme-h 1.0 (acme_later) is not used: it requires trainer-core>=2, "
            "and this is trainer-core 0.1.0"
        )
    ]
