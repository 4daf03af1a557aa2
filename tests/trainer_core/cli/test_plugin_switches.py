"""The options that switch plugins off, and what a process that is started then finds."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from trainer_core.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMED = "TRAINER_DISABLE_PLUGINS or --disable-plugin names it"
ALONE = "TRAINER_PLUGINS_ONLY does not name it, or --no-third-party is given"


@pytest.fixture(autouse=True)
def slope(fake_wheel: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a loss and a hook; forget the variables that the options set."""
    monkeypatch.setenv("TRAINER_DISABLE_PLUGINS", "some-other")
    monkeypatch.setenv("TRAINER_PLUGINS_ONLY", "acme-off")
    groups = {"trainer_core.losses": {"slope": "acme_off:Slope"}}
    groups["trainer_core.hooks"] = {"h": "acme_off"}
    fake_wheel("acme-off", groups, {"acme_off.py": "class Slope: ...\n"})
    monkeypatch.delitem(sys.modules, "acme_off", raising=False)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--disable-plugin", "acme-off"], NAMED),
        (["--disable-plugin", "loss.slope"], NAMED),
        (["--disable-plugin", "x", "--disable-plugin", "Acme_Off"], NAMED),
        (["--no-third-party"], ALONE),
    ],
)
def test_switched_off_loss_says_by_whom(
    options: list[str],
    reason: str,
    experiment_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change = "loss={_merge_: replace, _type_: slope}"

    assert main(["check", str(experiment_file), change, *options]) == 2
    message = f"loss 'slope' of acme-off 1.0 is switched off: {reason}"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "is_imported"),
    [
        ([], True),
        (["--disable-plugin", "acme-off"], False),
        (["--disable-plugin", "hook.h"], False),
        (["--no-third-party"], False),
        (["plugins.disable=[acme-off]"], False),
    ],
)
def test_switched_off_hook_is_not_imported(
    options: list[str], is_imported: bool, experiment_file: Path
) -> None:
    assert main(["run", str(experiment_file), "trainer.max_steps=1", "--dry-run", *options]) == 0
    assert ("acme_off" in sys.modules) == is_imported


def test_processes_of_the_run_inherit_the_switches(experiment_file: Path) -> None:
    assert (
        main(["check", str(experiment_file), "--disable-plugin", "acme", "--no-third-party"]) == 0
    )

    assert os.environ["TRAINER_DISABLE_PLUGINS"] == "some-other,acme"
    assert os.environ["TRAINER_PLUGINS_ONLY"] == ""


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("TRAINER_DISABLE_PLUGINS", "x, acme-off", NAMED),
        ("TRAINER_DISABLE_PLUGINS", "loss.slope", NAMED),
        ("TRAINER_PLUGINS_ONLY", "another", ALONE),
        ("TRAINER_PLUGINS_ONLY", "", ALONE),
    ],
)
def test_environment_switches_plugins_off(
    variable: str,
    value: str,
    reason: str,
    experiment_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["check", str(experiment_file), "loss={_merge_: replace, _type_: slope}"]) == 2
    message = f"loss 'slope' of acme-off 1.0 is switched off: {reason}"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (["loss._type_=slope"], "loss 'slope' is provided by acme-off 1.0"),
        (["loss._type_=acme-off::slope"], ""),
        (["loss._type_=acme-steep::slope"], ""),
        (["loss._type_=acme-off::loss.slope"], ""),
        (["loss._type_=slope", "plugins.prefer.loss.slope=acme-steep"], ""),
        (["loss._type_=slope", "plugins.disable=[acme-off]"], ""),
        (["loss._type_=slope", "--disable-plugin=acme-steep"], ""),
        (
            ["loss._type_=acme-off::slope", "plugins.disable=[acme-off]"],
            "is switched off: plugins.disable of the file",
        ),
    ],
)
def test_one_name_of_two_wheels_is_settled_by_saying_which(
    changes: list[str],
    complaint: str,
    experiment_file: Path,
    fake_wheel: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRAINER_PLUGINS_ONLY", "acme-off,acme-steep")
    steep = {"acme_steep.py": "class Slope: ...\n"}
    fake_wheel("acme-steep", {"trainer_core.losses": {"slope": "acme_steep:Slope"}}, steep)

    code = main(["check", str(experiment_file), "loss={_merge_: replace}", *changes])

    errors = capsys.readouterr().err
    assert (code, complaint in errors) == (2 if complaint else 0, True), errors


def test_name_that_switches_nothing_off_is_warned_of(
    experiment_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(experiment_file), "--disable-plugin", "acme-of"]) == 0
    assert capsys.readouterr().err == (
        "warning: --disable-plugin: nothing that is installed is called 'acme-of'; "
        "did you mean 'acme-off'?\n"
    )
