"""Wheels built from this checkout and a clean environment that holds only them."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
OURS = ("policy-constructor", "trainer-core", "trainer-ddp", "trainer-ray", "experiments-il")


@dataclass(frozen=True)
class CleanEnvironment:
    """A virtual environment of its own, used from a folder outside the checkout."""

    folder: Path

    def run(self, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a console script of the environment, as a user's shell would."""
        program = self.folder / "bin" / command[0]
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TRAINER_"))}
        env["OMP_NUM_THREADS"] = "1"
        return subprocess.run(
            [str(program), *command[1:]],
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def install(self, *wheels: Path) -> None:
        """Install wheels, and nothing that they require."""
        self._pip("install", "--no-index", "--no-deps", *map(str, wheels))

    def uninstall(self, name: str) -> None:
        """Remove a wheel."""
        self._pip("uninstall", "--yes", name)

    def _pip(self, *arguments: str) -> None:
        python = str(self.folder / "bin" / "python")
        command = [sys.executable, "-m", "pip", "--python", python, *arguments]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=240)

    def build_and_install(self, project: Path) -> Path:
        """Build a project's wheel and install it, as its author would."""
        wheel = build_wheel(project, project / "dist")
        self.install(wheel)
        return wheel


def build_wheel(project: Path, out: Path) -> Path:
    """Build the wheel of a project, as its author would."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=project, check=True, capture_output=True, timeout=120)
    (wheel,) = out.glob(f"{project.name.replace('-', '_')}-*.whl")
    return wheel


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the five wheels from the sources."""
    out = tmp_path_factory.mktemp("wheels")
    return {name: build_wheel(ROOT / "packages" / name, out) for name in OURS}


@pytest.fixture(scope="session")
def clean_environment(
    wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> CleanEnvironment:
    """Install trainer-core and experiments-il from wheels; borrow torch and the like."""
    chosen = [wheels[n] for n in ("policy-constructor", "trainer-core", "experiments-il")]
    return make_environment(tmp_path_factory.mktemp("clean") / "venv", chosen)


@pytest.fixture(scope="session")
def constructor_alone(
    wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> CleanEnvironment:
    """Install policy-constructor and nothing else of ours."""
    folder = tmp_path_factory.mktemp("alone") / "venv"
    return make_environment(folder, [wheels["policy-constructor"]])


@pytest.fixture(scope="session")
def workshop(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    """Install trainer-core alone, for plugins that a test builds, installs and removes again."""
    chosen = [wheels[n] for n in ("policy-constructor", "trainer-core")]
    return make_environment(tmp_path_factory.mktemp("workshop") / "venv", chosen)


def make_environment(folder: Path, wheels: Sequence[Path]) -> CleanEnvironment:
    """Create a virtual environment with these wheels and borrowed dependencies."""
    venv.create(folder, with_pip=False)
    _borrow_dependencies(folder)
    environment = CleanEnvironment(folder)
    environment.install(*wheels)
    return environment


def _borrow_dependencies(folder: Path) -> None:
    """Link every installed package but ours into the new environment, to spare 900 MB."""
    parent = Path(sysconfig.get_path("purelib"))
    target = folder / "borrowed"
    target.mkdir()
    ours = tuple(name.replace("-", "_") for name in OURS)
    skipped = (*ours, "_editable_impl_", "__editable__", "pip", "setuptools", "__pycache__")
    for item in parent.iterdir():
        if not item.name.startswith(skipped) and item.suffix != ".pth":
            (target / item.name).symlink_to(item)
    (site,) = folder.glob("lib/python3*/site-packages")
    (site / "borrowed.pth").write_text(f"{target}\n")
