from __future__ import annotations

import os
import random
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import importlib_metadata
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy_constructor.discovery import metadata
from policy_constructor.discovery.metadata import (
    EntryPointRecord,
    direct_url,
    normalize_name,
    parse_entry_points,
    read_headers,
    scan,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.policy_constructor.conftest import WriteWheel

LOSS = "[trainer_core.losses]\nl2 = losses:L2\n"
NAMES = st.from_regex(r"[A-Za-z]([A-Za-z0-9_.]{0,7}[A-Za-z0-9])?", fullmatch=True)
IDENTIFIERS = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)
GROUPS = st.sampled_from(["trainer_core.losses", "policy_constructor.blocks", "console_scripts"])
TARGETS = st.builds("{}.{}:{}".format, IDENTIFIERS, IDENTIFIERS, IDENTIFIERS)
TABLES = st.dictionaries(GROUPS, st.dictionaries(IDENTIFIERS, TARGETS, max_size=3), max_size=3)


def texts(table: dict[str, dict[str, str]]) -> str:
    return "".join(
        f"[{group}]\n# a comment\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()) + "\n"
        for group, entries in table.items()
    )


def test_scan_returns_name_version_and_folder(write_wheel: WriteWheel) -> None:
    site = write_wheel("Robot_Losses", LOSS, version="2.1")
    assert scan([str(site)]) == [
        EntryPointRecord(
            group="trainer_core.losses",
            name="l2",
            value="losses:L2",
            dist="robot-losses",
            version="2.1",
            path=str(site / "Robot_Losses-2.1.dist-info"),
        )
    ]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wheels=st.lists(
        st.tuples(NAMES, st.booleans(), TABLES),
        max_size=6,
        unique_by=lambda wheel: (normalize_name(wheel[0]), wheel[1]),
    )
)
def test_scan_equals_the_metadata_library(
    wheels: list[tuple[str, bool, dict[str, dict[str, str]]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("path")
    folders = [root / "first", root / "second"]
    for index, (name, is_second, table) in enumerate(wheels):
        info = folders[is_second] / f"{name}-1.{index}.dist-info"
        info.mkdir(parents=True)
        (info / "entry_points.txt").write_text(texts(table))
        if index % 3:
            (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.{index}\n")
    paths = [str(folder) for folder in folders]
    found = {(r.group, r.name, r.value) for r in scan(paths) if not r.shadowed}
    assert found == expected(paths)


def expected(paths: list[str]) -> set[tuple[str, str, str]]:
    """Return what importlib_metadata's `entry_points` finds on other paths than `sys.path`."""
    found: dict[str, Any] = {}
    distributions: list[Any] = list(importlib_metadata.distributions(path=paths))
    for distribution in sorted(distributions, key=lambda d: not d.read_text("METADATA")):
        found.setdefault(distribution._normalized_name, distribution)
    return {
        (entry.group, entry.name, entry.value)
        for distribution in found.values()
        for entry in distribution.entry_points
        if entry.group.startswith(metadata.GROUP_PREFIXES)
    }


def test_scan_of_this_environment_equals_the_metadata_library() -> None:
    found = {(r.group, r.name, r.value) for r in scan() if not r.shadowed}
    entries = importlib_metadata.entry_points()
    ours = [e for e in entries if e.group.startswith(metadata.GROUP_PREFIXES)]
    assert found == {(e.group, e.name, e.value) for e in ours}


def test_first_distribution_on_the_path_shadows_later_ones(write_wheel: WriteWheel) -> None:
    first = write_wheel("losses", LOSS, site="first")
    second = write_wheel("Losses", LOSS, version="9.0", site="second")
    found = [(r.version, r.shadowed) for r in scan([str(first), str(second)])]
    assert found == [("1.0", False), ("9.0", True)]


def test_leftover_folder_without_metadata_hides_nothing(write_wheel: WriteWheel) -> None:
    first = write_wheel("losses", LOSS, version="0.9", site="first", metadata=False)
    second = write_wheel("losses", LOSS, site="second")
    found = {r.version: r.shadowed for r in scan([str(first), str(second)])}
    assert found == {"0.9": True, "1.0": False}


def test_newer_version_in_one_folder_counts(write_wheel: WriteWheel) -> None:
    for version in ("1.9", "1.10"):
        site = write_wheel("losses", LOSS, version=version)
    found = {r.version: r.shadowed for r in scan([str(site)])}
    assert found == {"1.10": False, "1.9": True}


def test_order_of_a_directory_listing_changes_nothing(
    write_wheel: WriteWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        site = write_wheel(f"wheel{number % 5}", LOSS, version=f"1.{number}")
    before = scan([str(site)])
    names = random.Random(3).sample([entry.name for entry in site.iterdir()], k=8)
    monkeypatch.setattr(os, "listdir", lambda _folder: names)
    assert scan([str(site)]) == before


def test_same_folder_twice_on_the_path_counts_once(write_wheel: WriteWheel) -> None:
    site = write_wheel("losses", LOSS)
    assert [r.shadowed for r in scan([str(site), f"{site}/", str(site)])] == [False]


@pytest.mark.parametrize(
    ("line", "name", "problem"),
    [
        ("l2", "l2", "line 2 of entry_points.txt is not 'name = module:attribute'"),
        ("l2 = ", "l2", "line 2 of entry_points.txt is not 'name = module:attribute'"),
        ("l2 = a b:c", "l2", "line 2 of entry_points.txt is not 'name = module:attribute'"),
        ("l2 = a:", "l2", "line 2 of entry_points.txt is not 'name = module:attribute'"),
        ("l2 = 1a:b", "l2", "line 2 of entry_points.txt is not 'name = module:attribute'"),
        (
            "[trainer_core.x",
            "[trainer_core.x",
            "line 2 of entry_points.txt lacks a closing bracket",
        ),
    ],
)
def test_malformed_line_is_reported_and_harms_nothing(line: str, name: str, problem: str) -> None:
    text = f"[trainer_core.losses]\n{line}\n[policy_constructor.ops]\nadd = operator:add\n"
    found = [(name, problem) for _, name, _, problem in parse_entry_points(text)]
    assert found == [(name, problem), ("add", None)]


def test_second_declaration_of_a_name_is_reported() -> None:
    text = f"{LOSS}l2 = other:L2\n"
    problems = [problem for *_, problem in parse_entry_points(text)]
    assert problems == [None, "line 3 of entry_points.txt declares 'l2' a second time"]


def test_extras_and_blanks_of_a_value_are_dropped() -> None:
    text = "[trainer_core.losses]\nl2 = losses : L2 [fast, slow]\n"
    assert [value for _, _, value, _ in parse_entry_points(text)] == ["losses:L2"]


def test_undecodable_file_is_reported_not_raised(write_wheel: WriteWheel) -> None:
    site = write_wheel("losses", LOSS)
    info = site / "losses-1.0.dist-info"
    (info / "entry_points.txt").write_bytes(b"[trainer_core.losses]\nl2 = \xff\xfe:L2\n")
    assert [bool(r.problem) for r in scan([str(site)])] == [True]


def test_zip_file_on_the_path_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "wheel.zip", "w") as archive:
        archive.writestr("losses-3.0.dist-info/entry_points.txt", LOSS)
        archive.writestr("losses-3.0.dist-info/METADATA", "Name: losses\nVersion: 3.0\n\n")
    found = scan([str(tmp_path / "wheel.zip")])
    assert [(r.dist, r.version, r.value) for r in found] == [("losses", "3.0", "losses:L2")]


def test_egg_folders_are_read(tmp_path: Path) -> None:
    develop = tmp_path / "src" / "losses.egg-info"
    egg = tmp_path / "ops-2.0-py3.11.egg" / "EGG-INFO"
    for folder, name in ((develop, "losses"), (egg, "ops")):
        folder.mkdir(parents=True)
        (folder / "entry_points.txt").write_text(LOSS)
        (folder / "PKG-INFO").write_text(f"Name: {name}\nVersion: 4.0\n")
    found = scan([str(develop.parent), str(egg.parent)])
    assert [(r.dist, r.version) for r in found] == [("losses", "4.0"), ("ops", "2.0")]


def test_finder_of_another_package_is_asked(
    write_wheel: WriteWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = write_wheel("hidden", "[trainer_core.losses]\nhidden = m:X\n")

    class Finder:
        @staticmethod
        def find_distributions(_context: object) -> object:
            api: Any = importlib_metadata
            context = api.DistributionFinder.Context(path=[str(site)])
            return api.MetadataPathFinder.find_distributions(context)

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert [r.dist for r in scan() if r.name == "hidden"] == ["hidden"]


def test_broken_finder_does_not_break_the_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        @staticmethod
        def find_distributions(_context: object) -> object:
            raise RuntimeError

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert scan()


def test_missing_and_unreadable_folders_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_text("no zip")
    assert scan([str(tmp_path / "missing"), str(tmp_path / "broken.zip")]) == []


@pytest.mark.parametrize("name", ["Robot_Losses", "robot.losses", "robot--losses", "ROBOT-losses"])
def test_names_are_normalised(name: str) -> None:
    assert normalize_name(name) == "robot-losses"


def test_headers_keep_repeated_ones_in_order(tmp_path: Path) -> None:
    text = (
        "Name: x\nRequires-Dist: a>=1\n continued\nRequires-Dist: b\n\nRequires-Dist: in the text\n"
    )
    (tmp_path / "METADATA").write_text(text)
    assert read_headers(str(tmp_path)) == {"name": ["x"], "requires-dist": ["a>=1", "b"]}


def test_direct_url_is_none_without_a_readable_file(tmp_path: Path) -> None:
    assert direct_url(str(tmp_path)) is None
    (tmp_path / "direct_url.json").write_text("[")
    assert direct_url(str(tmp_path)) is None
    (tmp_path / "direct_url.json").write_text('{"url": "file:///x"}')
    assert direct_url(str(tmp_path)) == {"url": "file:///x"}


def test_scanning_imports_nothing_heavy() -> None:
    code = (
        "import sys; from policy_constructor.discovery.registry import blocks_registry;"
        "blocks_registry();"
        "heavy = {'torch', 'numpy', 'pydantic', 'yaml', 'email', 'hashlib', 'importlib_metadata',"
        "'pathlib'}; print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"
