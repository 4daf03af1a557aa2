from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOSSES = "trainer_core.losses"
SOURCE = '''"""Losses."""
class Slope:
    """Punishes slopes.

    Args:
        k: How hard.
        mode: Which side.
    """

    def __init__(self, k: float, mode: str = "both") -> None: ...
    def build(self): ...
'''


@pytest.fixture
def described(fake_wheel: Callable[..., Path]) -> Path:
    """Install one loss and return its folder."""
    site = fake_wheel("info-loss", {LOSSES: {"slope": "info_loss:Slope"}}, {"info_loss.py": SOURCE})
    with (site / "info_loss-1.0.dist-info" / "METADATA").open("a") as file:
        file.write("Summary: Slopes\nRequires-Dist: trainer-core<0.2,>=0.1\n")
    return site


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["plugins", "info", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_component_is_described_from_source(
    described: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "info", "loss.slope"]) == 0

    assert capsys.readouterr().out == (
        "loss.slope\n"
        "  Punishes slopes.\n"
        "  wheel      info-loss 1.0\n"
        "  target     info_loss:Slope\n"
        "  status     ok\n"
        f"  source     {described}/info_loss.py:2\n"
        f"  metadata   {described}/info_loss-1.0.dist-info\n"
        "  requires   trainer-core<0.2,>=0.1\n"
        "  parameter  type   default\n"
        "  k          float  required  How hard.\n"
        "  mode       str    'both'    Which side.\n"
    )
    assert "info_loss" not in sys.modules


def test_wheel_is_described_with_what_it_brings(
    described: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "info", "Info_Loss"]) == 0

    assert capsys.readouterr().out == (
        "info-loss 1.0\n"
        "  Slopes\n"
        f"  metadata   {described}/info_loss-1.0.dist-info\n"
        "  requires   trainer-core<0.2,>=0.1\n"
        "  kind  key    target           status\n"
        "  loss  slope  info_loss:Slope  ok\n"
    )


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("torch", ["loss.torch", "optim_factory.torch", "sched_factory.torch"]),
        ("trainer-core::loss.torch", ["loss.torch"]),
        ("nn.Linear", ["block.nn.Linear"]),
        ("optim_cls.AdamW", ["optim_cls.AdamW"]),
    ],
)
def test_name_may_mean_several(
    name: str, ids: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(capsys, name)["components"]

    assert [f"{one['kind']}.{one['key']}" for one in found] == ids


def test_parameter_of_the_engine_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = document(capsys, "trainer.default")["components"]

    assert found["parameters"][0] == {
        "name": "models",
        "type": "ModuleDict",
        "required": False,
        "default": None,
        "supplied": True,
        "doc": "One component.",
    }


def test_import_says_what_it_brings(described: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (described / "info_loss.py").write_text("import numpy\n" + SOURCE)

    (found,) = document(capsys, "info-loss", "--import")["imports"]

    assert (found["component"], found["status"], found["heavy"]) == ("loss.slope", "ok", ["numpy"])


def test_editable_and_commit_are_named(described: Path, capsys: pytest.CaptureFixture[str]) -> None:
    origin = {
        "url": described.as_uri(),
        "dir_info": {"editable": True},
        "vcs_info": {"commit_id": "abc"},
    }
    (described / "info_loss-1.0.dist-info" / "direct_url.json").write_text(json.dumps(origin))

    installed = document(capsys, "info-loss")["wheel"]["installed"]

    assert (installed["editable"], installed["commit"]) == (str(described), "abc")


def test_unknown_name_says_what_is_near(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "info", "jsnol"]) == 2
    expected = "error: neither a component nor a wheel is called 'jsnol'; did you mean 'jsonl'"
    assert capsys.readouterr().err.startswith(expected)
