from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from policy_constructor.source.absence import why_unusable

if TYPE_CHECKING:
    from pathlib import Path

LATE = "import sys\nsys.modules['parts_made'] = sys\nimport parts_made\nclass Loss: ...\n"
SYNTAX = "{}:2 has a syntax error: invalid syntax"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package `parts` with a module of each sort."""
    folder = tmp_path / "parts"
    folder.mkdir()
    modules = {
        "__init__": "from parts.right import Loss as Exported\n",
        "right": "class Loss: ...\nif (found := 1): import json as late\n",
        "crooked": "x = 1\ndef broken(:\n",
        "needy": "import parts_extra\nclass Loss: ...\n",
        "guarded": "try:\n    import parts_extra\nexcept ImportError: ...\nclass Loss: ...\n",
        "late": LATE,
        "through": "from parts.right import Lost\n",
        "lazy": "def __getattr__(name): return name\n",
        "starred": "from parts.right import *\n",
        "made": "globals()['Loss'] = 1\n",
    }
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "nothing").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    return folder


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("parts_gone.loss:Loss", "there is no module 'parts_gone'"),
        ("parts.gone:Loss", "there is no module 'parts.gone'"),
        ("parts.right.deep:Loss", "there is no module 'parts.right.deep'"),
        (
            "parts.needy:Loss",
            "parts.needy cannot be imported: there is no module 'parts_extra'",
        ),
        ("parts.right:Los", "there is no 'Los' in parts.right; did you mean 'Loss'?"),
        ("parts.through:Lost", "there is no 'Lost' in parts.right; did you mean 'Loss'?"),
        ("parts.starred:Missing", "there is no 'Missing' in parts.starred"),
    ],
)
def test_import_that_must_fail_is_known_from_source(
    target: str, reason: str, package: Path
) -> None:
    assert package.is_dir()
    assert why_unusable(*target.split(":")) == reason
    assert "parts" not in sys.modules


@pytest.mark.parametrize(
    "target",
    [
        "parts:Exported",
        "parts.right:Loss.inner",
        "parts.right:found",
        "parts.right:late",
        "parts.guarded:Loss",
        "parts.late:Loss",
        "parts.lazy:Anything",
        "parts.starred:Loss",
        "parts.made:Loss",
        "parts:right",
        "json:JSONDecoder",
        "math:tau",
        "torch.nn:NoSuchThing",
    ],
)
def test_import_that_may_succeed_is_trusted(target: str, package: Path) -> None:
    assert package.is_dir()
    assert why_unusable(*target.split(":")) == ""


def test_syntax_error_is_placed(package: Path) -> None:
    expected = SYNTAX.format(package / "crooked.py")
    assert why_unusable("parts.crooked", "Loss") == expected


def test_syntax_error_of_the_package_breaks_its_modules(package: Path) -> None:
    (package / "__init__.py").write_text("x = 1\ndef broken(:\n")
    assert why_unusable("parts.right", "Loss") == SYNTAX.format(package / "__init__.py")
