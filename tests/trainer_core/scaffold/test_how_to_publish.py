"""The commands of `docs/how-to/publish-a-plugin.md` print what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "publish-a-plugin.md"
CLI = "import sys; from trainer_core.cli import main; sys.exit(main(sys.argv[1:]))"


def commands() -> list[tuple[str, str]]:
    """Return each command of the page with what it prints."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    lines = [part.partition("\n") for block in blocks for part in block.split("$ ")[1:]]
    return [(command, output) for command, _, output in lines]


def build(folder: Path) -> Path:
    """Build the wheel as pip does."""
    (wheel,) = WheelBuilder(str(folder / "acme-huber")).build(directory=str(folder / "dist"))
    return Path(wheel)


def run_trainer(arguments: str, folder: Path) -> str:
    """Run a command in a folder whose `site` is installed."""
    return subprocess.run(
        [sys.executable, "-c", CLI, *arguments.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "site")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout


def test_page_prints_what_the_commands_print(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(schema_version.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "mine.yaml").write_text(example)
    for command, expected in commands():
        if command.startswith("trainer"):
            assert run_trainer(command.removeprefix("trainer "), tmp_path) == expected, command
        elif command.startswith("pip install"):
            with zipfile.ZipFile(build(tmp_path)) as archive:
                archive.extractall(tmp_path / "site")
        elif command.startswith("pip wheel"):
            assert build(tmp_path).is_file()
        elif command.startswith("pip uninstall"):
            shutil.rmtree(tmp_path / "site")
        else:
            assert command == "pytest acme-huber"  # test_new.py runs it for every kind
