"""A run goes on from its checkpoint although the pretrained weights it began with are gone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from policy_constructor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer_core.results import RunResult

    Train = Callable[..., RunResult]

BLOCK = """\
from pathlib import Path
from torch import nn
from policy_constructor.pretrained import is_pretrained_wanted

class Given(nn.Linear):
    def __init__(self, path: str):
        super().__init__(3, 2)
        if path == "never":
            raise ValueError("never is no place")
        if is_pretrained_wanted():
            value = float(Path(path).read_text())
            nn.init.constant_(self.weight, value)

    def forward(self, x):
        return super().forward(x)
"""
MODEL = {"_type_": "given", "path": "weights.txt"}
SPLIT = ["trainer.max_steps=3"]


@pytest.fixture
def given(fake_wheel: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A block that reads its first weights from a file of the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "given_block", raising=False)
    groups = {"policy_constructor.blocks": {"given": "given_block:Given"}}
    fake_wheel("given", groups, {"given_block.py": BLOCK})
    file = tmp_path / "weights.txt"
    file.write_text("0.25")
    return file


def test_run_goes_on_without_the_file_its_weights_came_from(
    train: Train, given: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train("trainer.max_steps=3", out="cut", model=MODEL, scheduler=None)
    train("trainer.max_steps=6", out="whole", model=MODEL, scheduler=None)
    given.unlink()
    train("trainer.max_steps=6", out="cut", model=MODEL, scheduler=None)
    found, wanted = (
        (Path(out) / "checkpoints/step-000000006/model.model.safetensors").read_bytes()
        for out in ("cut", "whole")
    )
    assert found == wanted
    assert "model takes its weights from " in caplog.text


def test_run_that_begins_needs_the_file(train: Train, given: Path) -> None:
    given.unlink()
    with pytest.raises(ConfigError, match=r"given refused its arguments: .*weights\.txt"):
        train(*SPLIT, out="first", model=MODEL)


def test_run_that_begins_anew_needs_the_file(train: Train, given: Path) -> None:
    train(*SPLIT, out="cut", model=MODEL)
    given.unlink()
    with pytest.raises(ConfigError, match="given refused its arguments"):
        train(*SPLIT, "run.resume=none", out="cut", model=MODEL, resume="none")


def test_what_is_wrong_beside_the_weights_is_told_as_ever(train: Train, given: Path) -> None:
    train(*SPLIT, out="cut", model=MODEL)
    given.unlink()
    with pytest.raises(ConfigError, match="given refused its arguments: never is no place"):
        train(*SPLIT, out="cut", model=MODEL | {"path": "never"})
