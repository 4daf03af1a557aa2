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
