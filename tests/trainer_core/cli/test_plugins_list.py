from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from trainer_core.cli import main
from trainer_core.cli.commands import COMMANDS
from trainer_core.discovery.names import OWN_COMMANDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOSSES = "trainer_core.losses"


def write_wheel_file(folder: Path, requires: str = "trainer-core>=0.1,<0.2") -> str:
    path = folder / "acme_loss-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("acme.py", "1 / 0\n")
        metadata = f"Name: acme-loss\nVersion: 1.0\nRequires-Dist: {requires}\n\nText\n"
        archive.writestr("acme_loss-1.0.dist-info/METADATA", metadata)
        entries = f"[{LOSSES}]\nslope = acme:Slope\ntorch = acme:Torch\nodd = a b\n"
        archive.writestr("acme_loss-1.0.dist-info/entry_points.txt", entries)
    return str(path)


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    assert main(["plugins", "list", "--json", *arguments]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    return {row["key"]: row["status"] for row in document["plugins"]}


def test_wheel_file_is_listed_before_it_is_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = listed(capsys, "--wheel", write_wheel_file(tmp_path))

    assert found == {"slope": "ok", "torch": "conflict", "odd": "invalid"}


def test_wheel_file_for_a_later_version_is_incompatible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = listed(capsys, "--wheel", write_wheel_file(tmp_path, "trainer-core>=2"))

    assert found["slope"] == "incompatible"


def test_file_that_is_no_wheel_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "acme.whl").write_text("nothing")

    assert main(["plugins", "list", "--wheel", str(tmp_path / "acme.whl")]) == 2
    expected = f"error: '{tmp_path}/acme.whl' is not a wheel: File is not a zip file\n"
    assert capsys.readouterr().err == expected


def test_listing_is_filtered_by_kind_and_wheel(
    fake_wheel: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    fake_wheel("acme-loss", {LOSSES: {"slope": "a:S"}, "trainer_core.io": {"odd": "a:O"}})

    assert listed(capsys, "--dist", "Acme_Loss") == {"slope": "ok", "odd": "ok"}
    assert listed(capsys, "--dist", "acme-loss", "--kind", "io") == {"odd": "ok"}


@pytest.mark.parametrize(
    ("kind", "hint"),
    [("losss", "did you mean 'loss'?"), ("xyz", "there are trainer, data, io, loss, ")],
)
def test_kind_that_is_none_is_refused(
    kind: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "list", "--kind", kind]) == 2
    assert capsys.readouterr().err.startswith(f"error: there is no kind '{kind}'; {hint}")


def test_command_of_two_wheels_needs_the_wheel(
    fake_wheel: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("acme-a", "acme-b"):
        module = name.replace("-", "_") + "_command"
        text = f"def main(argv):\n    print({name!r}, argv)\n    return 0\n"
        target = {"trainer_core.commands": {"walk": f"{module}:main"}}
        fake_wheel(name, target, {f"{module}.py": text})

    assert main(["walk"]) == 2
    assert capsys.readouterr().err == (
        "error: command 'walk' is provided by acme-a 1.0 and acme-b 1.0; "
        "write 'trainer acme-a::walk' or 'trainer acme-b::walk'\n"
    )
    assert main(["acme-b::walk", "x"]) == 0
    assert capsys.readouterr().out == "acme-b ['x']\n"


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        (
            "acme-walk",
            (
                "command 'walk' of acme-walk 1.0 cannot be used: "
                "TRAINER_DISABLE_PLUGINS or --disable-plugin names it"
            ),
        ),
        (
            "",
            (
                "command 'walk' of acme-walk 1.0 cannot be used: it requires trainer-core>=2, "
                "and this is trainer-core 0.1.0"
            ),
        ),
    ],
)
def test_command_that_cannot_be_used_says_why(
    variable: str,
    message: str,
    fake_wheel: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    site = fake_wheel("acme-walk", {"trainer_core.commands": {"walk": "acme_walk:main"}})
    with (site / "acme_walk-1.0.dist-info" / "METADATA").open("a") as file:
        file.write("Requires-Dist: trainer-core>=2\n")
    monkeypatch.setenv("TRAINER_DISABLE_PLUGINS", variable)

    assert main(["walk"]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_command_under_a_name_of_ours_is_hidden(
    fake_wheel: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert {words[0] for words in COMMANDS} <= OWN_COMMANDS
    fake_wheel("acme-run", {"trainer_core.commands": {"run": "acme_run:main"}})

    assert listed(capsys, "--dist", "acme-run") == {"run": "shadowed"}
    assert main(["plugins", "check", "acme-run"]) == 1
    assert "'trainer run' is a command of trainer-core, which hides" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        ("plugins list --json", "torch numpy pydantic yaml pluggy rich"),
        ("--help", "torch numpy pydantic yaml pluggy rich"),
        ("plugins info loss.torch", "torch numpy pluggy rich experiments_il"),
        ("plugins new acme-new --kind op", "torch numpy pydantic yaml pluggy rich"),
        ("config recipes", "torch numpy pydantic pluggy rich experiments_il"),
    ],
)
def test_reading_imports_nothing_heavy(arguments: str, absent: str, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom trainer_core.cli import main\n"
        f"code = main({arguments.split()!r})\n"
        f"print(code, *(set({absent.split()!r}) & sys.modules.keys()), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stderr.splitlines()[-1] == "0"
