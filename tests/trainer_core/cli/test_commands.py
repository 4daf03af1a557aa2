from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trainer_core import __version__
from trainer_core.cli import commands, main

if TYPE_CHECKING:
    from collections.abc import Callable

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"
SEE = "See trainer --help"
Capture = pytest.CaptureFixture[str]


def test_help_lists_own_and_installed_commands(capsys: Capture) -> None:
    assert main(["--help"]) == 0

    text = capsys.readouterr().out
    assert "  trainer check CONFIG [a.b=c ...]" in text
    assert "  trainer data ...                      from experiments-il 0.1.0" in text


@pytest.mark.parametrize("words", commands.COMMANDS)
def test_reference_describes_command(words: tuple[str, ...]) -> None:
    assert f"## `trainer {' '.join(words)}" in REFERENCE.read_text()


@pytest.mark.parametrize("words", commands.COMMANDS)
def test_reference_lists_every_option(words: tuple[str, ...], capsys: Capture) -> None:
    assert main([*words, "--help"]) == 0

    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    section = REFERENCE.read_text().split(f"## `trainer {' '.join(words)}")[1].split("\n## ")[0]
    assert {option for option in options if f"`{option}" not in section} == set()


def test_version_is_printed(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"trainer-core {__version__}\n"


def test_no_command_prints_help_and_fails(capsys: Capture) -> None:
    assert main([]) == 2
    assert "Train robot-learning policies" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chekc"], "error: unknown command 'chekc'; did you mean 'trainer check'? " + SEE),
        (["plugins"], "error: 'trainer plugins' needs one of: list, info, check, new"),
        (
            ["plugins", "lst"],
            (
                "error: 'trainer plugins' needs one of: list, info, check, new; "
                "did you mean 'trainer plugins list'?"
            ),
        ),
        (["xyzzy"], "error: unknown command 'xyzzy'. " + SEE),
        (
            ["check"],
            "trainer check: error: CONFIG is missing: a file, or a recipe such as il/pick_place",
        ),
        (["run", "a.yaml", "b"], "trainer run: error: 'b' is no override; write key=value"),
        (
            ["check", "a.yaml", "--run.seed=3"],
            (
                "trainer check: error: unrecognized arguments: --run.seed=3; "
                "a value is changed without dashes: run.seed=3"
            ),
        ),
    ],
)
def test_wrong_command_line_is_exit_code_2(
    arguments: list[str], message: str, capsys: Capture
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.splitlines()[-1] == message


def test_group_of_commands_has_a_help(capsys: Capture) -> None:
    assert main(["plugins", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "  trainer plugins list                  list what is installed"
    assert lines[-1] == "Each command has its own --help."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("lr=1e-4", "<cli>:1:1: error: lr: unknown key 'lr'; did you mean 'optimizer.lr'?"),
        (
            "run.max_steps=5",
            (
                "<cli>:1:5: error: run.max_steps: unknown key 'max_steps'; "
                "did you mean 'trainer.max_steps'?"
            ),
        ),
        (
            "loss._type_=nn.L1Loss",
            (
                "<cli>:1:13: error: loss._type_: 'nn.L1Loss' is a block, not a loss; "
                "a loss is {_type_: torch, fn: {_type_: nn.L1Loss}}"
            ),
        ),
    ],
)
def test_misplaced_name_is_told_where_it_belongs(
    change: str, message: str, experiment_file: Path, capsys: Capture
) -> None:
    changes = ["optimizer={_merge_: replace, _type_: optim_cls.AdamW, lr: 1e-3}", change]
    assert main(["check", str(experiment_file), *changes]) == 2
    assert message.replace("<cli>:1", "<cli>:2") in capsys.readouterr().err.splitlines()


def test_check_of_a_right_file_says_ok(experiment_file: Path, capsys: Capture) -> None:
    assert main(["check", str(experiment_file)]) == 0
    assert capsys.readouterr().out == "exp.yaml: ok (model: 10 components)\n"


def test_check_prints_all_problems_and_their_number(experiment_file: Path, capsys: Capture) -> None:
    assert main(["check", "run.seed=x", str(experiment_file), "run.device=y"]) == 2

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "<cli>:1:10: error: run.seed: expected an integer, found 'x'"
    assert lines[-1] == "2 errors in exp.yaml"


def test_options_and_overrides_mix_in_any_order(experiment_file: Path, capsys: Capture) -> None:
    arguments = ["check", str(experiment_file), "run.seed=x", "--json", "~settings", "+metrics=[]"]

    assert main(arguments) == 2

    paths = [error["path"] for error in json.loads(capsys.readouterr().out)["errors"]]
    assert paths == ["run.seed"]


def test_check_json_has_exactly_the_documented_fields(
    experiment_file: Path, capsys: Capture
) -> None:
    assert main(["check", str(experiment_file), "data.batch_szie=3", "--json"]) == 2

    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out) == {
        "ok": False,
        "errors": [
            {
                "code": "unknown-key",
                "message": "data.random_regression has no parameter 'batch_szie'",
                "path": "data.batch_szie",
                "file": "<cli>",
                "line": 1,
                "column": 6,
                "expected": "",
                "suggestions": ["batch_size"],
                "notes": [],
            }
        ],
        "warnings": [],
    }


def test_check_json_of_a_right_file_is_ok(experiment_file: Path, capsys: Capture) -> None:
    assert main(["check", str(experiment_file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "errors": [], "warnings": []}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: {name: [}", "exp.yaml:1:14: error: not valid YAML"),
        ("- a\n", "exp.yaml:1:1: error: "),
        ("run: {name: a}\nrun: {name: b}\n", "exp.yaml:2:1: error: run: "),
        (
            "run: {name: '${nothing}'}\n",
            "exp.yaml:1:14: error: run.name: ${nothing} names nothing: there is no 'nothing'",
        ),
        ("run: {name: '${env:TRAINER_TEST_UNSET}'}\n", "exp.yaml:1:14: error: "),
        ("params: {a: '${params.b}', b: '${params.a}'}\n", "exp.yaml:1:32: error: "),
        ("defaults: [exp.yaml]\n", "exp.yaml:1:12: error: defaults.0: "),
        ("run: !!python/object:os.system {}\n", "exp.yaml:1:6: error: "),
        ("", "error: the file needs 'run'"),
        ("\x00", "exp.yaml:1:1: error: "),
    ],
)
def test_broken_file_is_located_and_exit_code_2(
    text: str, message: str, experiment_file: Path, capsys: Capture
) -> None:
    experiment_file.write_text(text)

    assert main(["check", str(experiment_file)]) == 2

    assert message in capsys.readouterr().err


def test_missing_file_is_exit_code_2(experiment_file: Path, capsys: Capture) -> None:
    assert main(["run", f"{experiment_file}x"]) == 2
    assert capsys.readouterr().err == (
        "error: there is no file and no recipe 'exp.yamlx'; did you mean 'exp.yaml'?\n"
    )


@pytest.mark.parametrize("name", ["a" * 5000, "il/" + "a" * 5000, "", "a\0b"])
def test_impossible_name_of_a_file_is_exit_code_2(name: str, capsys: Capture) -> None:
    assert main(["check", name]) == 2
    assert f"error: there is no file and no recipe {name!r}" in capsys.readouterr().err


def test_misspelt_recipe_names_the_nearest(experiment_file: Path, capsys: Capture) -> None:
    assert main(["check", "il/pick_plcae"]) == 2
    assert "did you mean 'il/pick_place'" in capsys.readouterr().err
    assert experiment_file.exists()


def test_config_show_prints_the_resolved_file(experiment_file: Path, capsys: Capture) -> None:
    assert main(["config", "show", str(experiment_file), "optimizer.lr=1"]) == 0

    text = capsys.readouterr().out
    assert "  out_dir: runs/first\n" in text
    assert "  lr: 1\n" in text


def test_config_show_says_where_values_come_from(experiment_file: Path, capsys: Capture) -> None:
    assert main(["config", "show", str(experiment_file), "optimizer.lr=1", "--sources"]) == 0

    text = capsys.readouterr().out
    assert "  lr: 1  # <cli>:1:14 (replaces 0.001 from exp.yaml:31:7)\n" in text
    assert "  name: first  # exp.yaml:4:9 (referenced once)\n" in text


def test_config_show_json_has_sources_by_key(experiment_file: Path, capsys: Capture) -> None:
    assert main(["config", "show", str(experiment_file), "--sources", "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert document["config"]["run"]["name"] == "first"
    assert document["sources"]["run.name"] == {
        "file": "exp.yaml",
        "line": 4,
        "column": 9,
        "origin": "exp.yaml:4:9 (referenced once)",
        "referenced": 1,
    }


def test_config_show_of_a_broken_file_still_prints_the_rest(
    experiment_file: Path, capsys: Capture
) -> None:
    experiment_file.write_text("run: {name: '${nothing}', out_dir: here}\n")

    assert main(["config", "show", str(experiment_file)]) == 2

    captured = capsys.readouterr()
    assert "out_dir: here" in captured.out
    assert "run.name" in captured.err


def test_plugins_list_json_is_stable(capsys: Capture) -> None:
    assert main(["plugins", "list", "--kind", "runner", "--dist", "trainer-core", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {
        "schema": 1,
        "plugins": [
            {
                "kind": "runner",
                "key": "local",
                "dist": "trainer-core",
                "version": __version__,
                "target": "trainer_core.runners:LocalRunner",
                "status": "ok",
            }
        ],
    }


def test_plugins_list_of_broken_wheels_is_exit_code_0(
    fake_wheel: Callable[..., Path], capsys: Capture
) -> None:
    fake_wheel("acme-a", {"trainer_core.losses": {"torch": "acme_a:Torch"}})
    fake_wheel("acme-b", {"trainer_core.losses": {"bad": "not a target"}})

    assert main(["plugins", "list", "--kind", "loss"]) == 0

    captured = capsys.readouterr()
    statuses = [line.split()[1::4] for line in captured.out.splitlines()]
    assert ["torch", "conflict"] in statuses
    assert re.match(r"3 of \d+ cannot be used as they are", captured.err)


def test_installed_command_gets_its_arguments(
    fake_wheel: Callable[..., Path], capsys: Capture
) -> None:
    source = "def main(argv):\n    print(argv)\n    return 75\n"
    fake_wheel(
        "acme-cmd", {"trainer_core.commands": {"greet": "acme_cmd:main"}}, {"acme_cmd.py": source}
    )

    assert main(["greet", "--loud", "a.b=c"]) == 75
    assert capsys.readouterr().out == "['--loud', 'a.b=c']\n"


def test_broken_installed_command_is_named_with_its_wheel(
    fake_wheel: Callable[..., Path], capsys: Capture
) -> None:
    fake_wheel(
        "acme-bad", {"trainer_core.commands": {"boom": "acme_boom:main"}}, {"acme_boom.py": "1 / 0"}
    )

    assert main(["boom"]) == 1

    message = "error: command 'boom' of acme-bad 1.0 cannot be used: ZeroDivisionError"
    assert capsys.readouterr().err.startswith(message)
    assert main(["--help"]) == 0
