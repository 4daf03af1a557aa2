"""A plugin written for version 1.0 of the contract still builds, installs, runs and conforms."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trainer_core import hookspecs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.conftest import CleanEnvironment

FROZEN = Path(__file__).parents[1] / "fixtures" / "plugin_v1"
HOOKS_OF_V1 = [
    "checkpoint_load",
    "checkpoint_save",
    "config_resolved",
    "configure",
    "epoch_end",
    "epoch_start",
    "evaluation_end",
    "evaluation_start",
    "exception",
    "fit_end",
    "fit_start",
    "log",
    "model_built",
    "register_components",
    "select_runner",
    "step_end",
]


@pytest.fixture
def frozen(workshop: CleanEnvironment, tmp_path: Path) -> Iterator[Path]:
    """Build and install a copy of the frozen plugin; return its folder."""
    project = tmp_path / "acme-frozen"
    shutil.copytree(FROZEN, project)
    workshop.build_and_install(project)
    yield project
    workshop.uninstall("acme-frozen")


def test_frozen_plugin_works_with_this_version(
    frozen: Path, workshop: CleanEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_FROZEN_CALLS", str(frozen / "calls.txt"))
    by_hook = "loss={_merge_: replace, _type_: frozen_by_hook}"
    run = workshop.run("trainer", "run", "frozen/all", by_hook, cwd=frozen)
    assert run.returncode == 0, run.stderr
    summary = json.loads((frozen / "runs" / "frozen" / "summary.json").read_text())
    assert summary["status"] == "completed"
    assert summary["evaluation"]["n"] == 2
    log = (frozen / "runs" / "frozen" / "frozen.txt").read_text().splitlines()
    assert log[-1] == "completed"
    assert any("mae" in line for line in log)

    longer = workshop.run(
        "trainer", "run", "frozen/all", by_hook, "trainer.max_steps=8", cwd=frozen
    )
    assert longer.returncode == 0, longer.stderr
    assert workshop.run("trainer", "frozen", "still", "here", cwd=frozen).stdout == "still here\n"
    not_called = {"exception", "register_components"}  # nothing failed; the second leaves no line
    assert set((frozen / "calls.txt").read_text().split()) == set(HOOKS_OF_V1) - not_called

    kit = workshop.run(
        "python", "-m", "pytest", "-q", "--trainer-conformance=acme-frozen", cwd=frozen
    )
    assert kit.returncode == 0, kit.stdout


def test_version_1_loses_no_hook() -> None:
    assert {f"trainer_{name}" for name in HOOKS_OF_V1} <= set(hookspecs.__all__)
