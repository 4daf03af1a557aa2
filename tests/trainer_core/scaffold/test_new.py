"""Packages that `trainer plugins new` writes, built into wheels and installed for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from hatchling.builders.wheel import WheelBuilder

from trainer_core.cli import main
from trainer_core.scaffold.kinds import KINDS
from trainer_core.scaffold.writing import api_range, default_key

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write, build and install a package of each kind."""
    folder = tmp_path_factory.mktemp("plugins")
    for kind in KINDS:
        assert main(["plugins", "new", name_of(kind), "--kind", kind, "--path", str(folder)]) == 0
        builder = WheelBuilder(str(folder / name_of(kind)))
        (wheel,) = builder.build(directory=str(folder / "wheels"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "site")
    return folder / "site"


def name_of(kind: str) -> str:
    return f"acme-new-{kind.replace('_', '-')}"


def run_python(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=site.parent,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_kind_passes_its_own_tests(site: Path) -> None:
    folders = [str(site.parent / name_of(kind) / "tests") for kind in KINDS]

    done = run_python(site, "-m", "pytest", "-q", "--import-mode=importlib", *folders)

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


def test_name_of_the_wheel_is_enough_for_the_kit(site: Path, tmp_path: Path) -> None:
    wheels = [f"--trainer-conformance={name_of(kind)}" for kind in KINDS]
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", *wheels]

    done = run_python(site, *command)

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert "not checked" not in done.stdout


@pytest.mark.slow  # ten seconds; that all is annotated is always checked by ruff below
def test_every_kind_is_typed_strictly(site: Path, tmp_path: Path) -> None:
    sources = [str(site.parent / name_of(kind) / "src") for kind in KINDS]

    done = run_python(site, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", *sources)

    assert done.returncode == 0, done.stdout


def test_new_wheel_passes_the_check(site: Path) -> None:
    command = "import sys; from trainer_core.cli import main; sys.exit(main(sys.argv[1:]))"

    done = run_python(site, "-c", command, "plugins", "check", "acme-new-loss", "--json")

    document = json.loads(done.stdout)
    assert (document["findings"], document["imported"], done.returncode) == ([], 1, 0)


def test_every_kind_is_linted_and_formatted(site: Path) -> None:
    sources = [str(site.parent / name_of(kind)) for kind in KINDS]
    ruff = ["-m", "ruff"]

    linted = run_python(
        site, *ruff, "check", "--isolated", "--select=E4,E7,E9,F,UP,B,ANN0,ANN1,ANN2", *sources
    )
    formatted = run_python(
        site, *ruff, "format", "--isolated", "--check", "--line-length=100", *sources
    )

    assert (linted.returncode, formatted.returncode) == (0, 0), linted.stdout + formatted.stdout


def test_files_and_next_steps_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "new", "acme-huber", "--kind", "loss", "--path", str(tmp_path)]) == 0

    folder = tmp_path / "acme-huber"
    assert capsys.readouterr().out == (
        f"{folder}/pyproject.toml\n"
        f"{folder}/README.md\n"
        f"{folder}/src/acme_huber/__init__.py\n"
        f"{folder}/src/acme_huber/conformance.yaml\n"
        f"{folder}/src/acme_huber/py.typed\n"
        f"{folder}/src/acme_huber/losses.py\n"
        f"{folder}/tests/test_huber.py\n"
        "\nNext:\n"
        f"  pip install -e '{folder}[test]'\n"
        "  trainer plugins check acme-huber\n"
        f"  pytest {folder}\n"
    )
    assert 'huber = "acme_huber.losses:Huber"\n' in (folder / "pyproject.toml").read_text()
    assert 'dependencies = ["trainer-core>=0.1,<0.2"]' in (folder / "pyproject.toml").read_text()


def test_folder_with_content_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "acme-huber").mkdir()
    (tmp_path / "acme-huber" / "mine.txt").touch()

    assert main(["plugins", "new", "acme-huber", "--kind", "loss", "--path", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/acme-huber is there already and not empty; "
        "choose another name or folder\n"
    )
    assert [file.name for file in (tmp_path / "acme-huber").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["1acme"], "'1acme' cannot be the name of a package; take one such as 'acme-huber'"),
        (["../x"], "'../x' cannot be the name of a package; take one such as 'acme-huber'"),
        (["class"], "'class' cannot be the name of a package; take one such as 'acme-huber'"),
        (["trainer-core"], "'trainer-core' is the name of a wheel of ours; choose another"),
        (
            ["numpy"],
            "there is a module 'numpy' already, which this one would hide; choose another name",
        ),
        (
            ["acme", "--key", "A b"],
            "'A b' cannot be a key; take lower-case letters, digits and '_': --key huber",
        ),
        (
            ["acme-torch"],
            "loss 'torch' is already provided by trainer-core 0.1.0; choose another with --key",
        ),
    ],
)
def test_name_that_cannot_be_used_is_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "new", *arguments, "--kind", "loss", "--path", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert not list(tmp_path.iterdir())


def test_command_of_ours_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plugins", "new", "acme-run", "--kind", "command", "--path", str(tmp_path)]
    assert main(arguments) == 2
    message = "error: 'trainer run' is a command of trainer-core; choose another with --key\n"
    assert capsys.readouterr().err == message


def test_key_follows_the_first_hyphen() -> None:
    assert default_key("Acme_Robot.Loss") == "robot_loss"
    assert default_key("acme") == "acme"


@pytest.mark.parametrize(
    ("version", "expected"), [("0.1.0", ">=0.1,<0.2"), ("1.4.2", ">=1.4,<2"), ("2.0", ">=2.0,<3")]
)
def test_range_ends_where_the_contract_may_break(version: str, expected: str) -> None:
    assert api_range(version) == expected
