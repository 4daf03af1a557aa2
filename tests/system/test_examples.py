"""The example wheels: built as they stand, installed alone, held to the kit, used by a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.conftest import CleanEnvironment

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(path.name for path in FOLDER.iterdir())


@pytest.fixture(params=EXAMPLES)
def example(
    request: pytest.FixtureRequest, workshop: CleanEnvironment, tmp_path: Path
) -> Iterator[Path]:
    """Build and install a copy of an example; return its folder."""
    project = tmp_path / request.param
    shutil.copytree(FOLDER / request.param, project)
    workshop.build_and_install(project)
    yield project
    workshop.uninstall(request.param)


def test_example_runs_and_passes_the_kit(example: Path, workshop: CleanEnvironment) -> None:
    listed = workshop.run("trainer", "plugins", "list", "--json", cwd=example)
    found = [p for p in json.loads(listed.stdout)["plugins"] if p["dist"] == example.name]
    assert {plugin["status"] for plugin in found} == {"ok"}

    run = workshop.run("trainer", "run", "experiment.yaml", cwd=example)
    assert run.returncode == 0, run.stderr
    summary = json.loads((example / "runs" / example.name / "summary.json").read_text())
    assert summary["status"] == "completed"
    assert summary["metrics"]["loss"] < 1
    announcement = example / "runs" / example.name / "announcement.txt"  # of the hook
    assert announcement.exists() == (example.name == "acme-constant")

    by_name = f"--trainer-conformance={example.name}"
    kit = workshop.run("python", "-m", "pytest", "-q", by_name, "tests", cwd=example)
    assert kit.returncode == 0, kit.stdout
