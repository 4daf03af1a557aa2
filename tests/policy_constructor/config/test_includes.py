from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from policy_constructor.config import Mark, Source, resolve_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.policy_constructor.config.conftest import Fail


def test_defaults_are_merged_in_order_below_the_file(write: Callable[..., None]) -> None:
    write("a: 1\nb: 1\nc: 1\n", "one.yaml")
    write("b: 2\nc: 2\n", "two.yaml")
    write("defaults: [one.yaml, two.yaml]\nc: 3\n")
    assert resolve_config("exp.yaml").data == {"a": 1, "b": 2, "c": 3}


def test_defaults_are_relative_to_their_own_file(write: Callable[..., None]) -> None:
    write("a: 1\n", "base/deep/one.yaml")
    write("defaults: [deep/one.yaml]\nb: 2\n", "base/two.yaml")
    write("defaults: [base/two.yaml]\n")
    resolved = resolve_config(Path("exp.yaml"))
    assert resolved.data == {"a": 1, "b": 2}
    names = [source.name for source in resolved.sources]
    assert names == ["exp.yaml", "base/two.yaml", "base/deep/one.yaml"]


def test_file_named_twice_is_merged_once_at_its_first_place(write: Callable[..., None]) -> None:
    write("lr: 1\nitems: [1]\n", "base.yaml")
    write("defaults: [base.yaml]\nlr: 2\n", "left.yaml")
    write(
        "defaults: [base.yaml]\nitems: {_merge_: append, _value_: [2]}\n",
        "right.yaml",
    )
    write("defaults: [left.yaml, right.yaml]\n")
    assert resolve_config("exp.yaml").data == {"lr": 2, "items": [1, 2]}


def test_recipe_is_found_when_there_is_no_such_file(
    write: Callable[..., None], tmp_path: Path
) -> None:
    write("a: 1\n", "wheel/reach.yaml")
    write("defaults: [il/reach]\nb: 2\n")
    known = {"il/reach": tmp_path / "wheel" / "reach.yaml"}
    assert resolve_config("exp.yaml", find_recipe=known.get).data == {"a": 1, "b": 2}
    assert resolve_config("il/reach", find_recipe=known.get).data == {"a": 1}


def test_mapping_includes_files_of_the_current_folder(write: Callable[..., None]) -> None:
    write("a: 1\n", "base.yaml")
    assert resolve_config({"defaults": ["base.yaml"], "b": 2}).data == {"a": 1, "b": 2}


def test_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert resolve_config(tmp_path / "a.yaml").data == {"a": 1, "b": 2}


def test_source_knows_the_folder_and_who_named_it(write: Callable[..., None]) -> None:
    write("a: 1\n", "models/m.yaml")
    outer = Mark(Source("exp.yaml"), 3, 5)
    source = resolve_config("models/m.yaml", included_from=outer).sources[0]
    assert source.directory == str(Path("models").absolute())
    assert source.included_from is outer


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "defaults: [bsae.yaml]\na: ${gone}\n",
            (
                "exp.yaml:1:12: error: defaults.0: there is no file 'bsae.yaml'; "
                "did you mean 'base.yaml'?\n"
                "  1 | defaults: [bsae.yaml]\n"
                "    |            ^^^^^^^^^"
            ),
        ),
        (
            "defaults: [nowhere/x.yaml]\n",
            (
                "exp.yaml:1:12: error: defaults.0: there is no file 'nowhere/x.yaml'\n"
                "  1 | defaults: [nowhere/x.yaml]\n"
                "    |            ^^^^^^^^^^^^^^"
            ),
        ),
        (
            "defaults: base.yaml\n",
            (
                "exp.yaml:1:11: error: defaults: expected a list of files, found text\n"
                "  1 | defaults: base.yaml\n"
                "    |           ^^^^^^^^^"
            ),
        ),
        (
            "defaults: [3, '']\n",
            (
                "exp.yaml:1:12: error: defaults.0: expected the name of a file or recipe, found 3\n"
                "  1 | defaults: [3, '']\n"
                "    |            ^\n"
                "exp.yaml:1:15: error: defaults.1: expected the name of a file or recipe, "
                "found empty text\n"
                "  1 | defaults: [3, '']\n"
                "    |               ^^"
            ),
        ),
        (
            "defaults: ['${a}.yaml']\n",
            (
                "exp.yaml:1:12: error: defaults.0: files are read before references are resolved; "
                "write the name itself\n"
                "  1 | defaults: ['${a}.yaml']\n"
                "    |            ^^^^^^^^^^^"
            ),
        ),
        (
            "defaults: [folder]\n",
            (
                "exp.yaml:1:12: error: defaults.0: cannot read 'folder': it is not a file\n"
                "  1 | defaults: [folder]\n"
                "    |            ^^^^^^"
            ),
        ),
        (
            "defaults: [!x base.yaml]\n",
            (
                "exp.yaml:1:12: error: defaults.0: the tag '!x' is not supported\n"
                "  1 | defaults: [!x base.yaml]\n"
                "    |            ^^^^^^^^^^^^"
            ),
        ),
        (
            "defaults: !x []\n",
            (
                "exp.yaml:1:11: error: defaults: the tag '!x' is not supported\n"
                "  1 | defaults: !x []\n"
                "    |           ^^^^"
            ),
        ),
        (
            "schema_version: 2\n",
            (
                "exp.yaml:1:17: error: schema_version: "
                "this release reads schema_version 1, found 2\n"
                "  1 | schema_version: 2\n"
                "    |                 ^"
            ),
        ),
        (
            "schema_version: true\n",
            (
                "exp.yaml:1:17: error: schema_version: this release reads schema_version 1, "
                "found true\n"
                "  1 | schema_version: true\n"
                "    |                 ^^^^"
            ),
        ),
    ],
)
def test_wrong_include_points_at_its_entry(
    text: str, problem: str, write: Callable[..., None], fail: Fail
) -> None:
    write("a: 1\n", "base.yaml")
    write("", "folder/empty.yaml")
    write(text)
    assert fail() == problem


def test_cycle_names_every_file(write: Callable[..., None], fail: Fail) -> None:
    write("defaults: [b.yaml]\n", "a.yaml")
    write("defaults: [a.yaml]\n", "b.yaml")
    write("defaults: [a.yaml]\n")
    assert fail() == (
        "b.yaml:1:12: error: defaults.0: the files include each other: a.yaml -> b.yaml -> a.yaml\n"
        "  1 | defaults: [a.yaml]\n"
        "    |            ^^^^^^\n"
        "    = included from a.yaml:1:12\n"
        "    = included from exp.yaml:1:12"
    )


def test_chain_of_files_is_capped(write: Callable[..., None], fail: Fail) -> None:
    for number in range(70):
        write(f"defaults: [f{number + 1}.yaml]\n", f"f{number}.yaml")
    problem = fail("f0.yaml").split("\n")[0]
    assert problem == "f63.yaml:1:12: error: defaults.0: more than 64 files include one another"


def test_missing_main_file_names_the_nearest(write: Callable[..., None], fail: Fail) -> None:
    write("")
    assert fail("exq.yaml") == "error: there is no file 'exq.yaml'; did you mean 'exp.yaml'?"


def test_missing_recipe_is_called_file_or_recipe(write: Callable[..., None], fail: Fail) -> None:
    write("")
    text = fail("il/none", find_recipe=lambda name: None)
    assert text == "error: there is no file or recipe 'il/none'"


def test_name_too_long_for_the_system_is_missing(fail: Fail) -> None:
    assert fail("x" * 5000).startswith("error: there is no file 'xxx")


def test_folder_as_main_file_is_refused(write: Callable[..., None], fail: Fail) -> None:
    write("", "folder/a.yaml")
    assert fail("folder") == "error: cannot read 'folder': it is not a file"


def test_unreadable_file_says_why(write: Callable[..., None], fail: Fail, tmp_path: Path) -> None:
    write("a: 1\n")
    ghost = tmp_path / "loop"
    ghost.symlink_to(ghost)
    text = fail("exp.yaml/x", find_recipe=lambda name: ghost)
    assert text == f"error: cannot read '{ghost}': it is not a file"


def test_file_beyond_the_size_is_refused(write: Callable[..., None], fail: Fail) -> None:
    write("a: 1\n" + "#" * (1 << 20))
    assert fail() == "error: 'exp.yaml' is larger than 1048576 bytes"


def test_text_that_is_not_utf8_is_located(tmp_path: Path, fail: Fail) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"a: 1\nb: \xff\n")
    assert fail(file) == (
        f"{file}:2:4: error: the file is not UTF-8: byte 0xff is not text\n"
        "  2 | b: \ufffd\n"
        "    |    ^"
    )


def test_missing_include_silences_what_may_follow_from_it(write: Callable[..., None]) -> None:
    write("defaults: [gone.yaml]\na: ${params.x}\nb: {_template_: t}\n")
    resolved = resolve_config("exp.yaml", ["~zzz"], strict=False)
    assert [problem.code for problem in resolved.problems] == ["missing-file"]
    assert resolved.incomplete
    assert resolved.root.value["a"].poisoned


def test_misspelt_recipe_names_the_nearest(write: Callable[..., None]) -> None:
    write("defaults: [il/pick_plcae]\n")
    resolved = resolve_config(
        "exp.yaml",
        find_recipe=lambda _: None,
        recipe_names=lambda: ["il/reach", "il/pick_place"],
        strict=False,
    )
    assert [problem.suggestions for problem in resolved.problems] == [("il/pick_place",)]
