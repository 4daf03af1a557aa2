from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from trainer_core.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def recipes(fake_wheel: Callable[..., Path], experiment_file: Path) -> Path:
    """Install a wheel with one recipe and a part of one; return their folder."""
    site = fake_wheel("acme-walks", {"trainer_core.recipes": {"walks": "acme_walks"}})
    folder = site / "acme_walks"
    (folder / "base").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('imported')\n")
    (folder / "walk.yaml").write_text(
        "# Walks home.\n# In the dark.\n" + experiment_file.read_text()
    )
    (folder / "base" / "part.yaml").write_text("run: {seed: 7}\n")
    return folder


def test_recipes_are_listed_with_their_first_comment(
    recipes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "recipes"]) == 0
    lines = [line.split(maxsplit=3) for line in capsys.readouterr().out.splitlines()]
    assert ["walks/walk", "acme-walks", "1.0", "Walks home."] in lines

    assert main(["config", "recipes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipes"][-1] == {
        "name": "walks/walk",
        "path": str(recipes / "walk.yaml"),
        "dist": "acme-walks",
        "version": "1.0",
        "description": "Walks home.",
    }


@pytest.mark.parametrize("name", ["walks/walk", "acme-walks::walks/walk"])
def test_recipe_of_a_strangers_wheel_runs(name: str, recipes: Path) -> None:
    assert main(["run", name, "trainer.max_steps=1", "--dry-run"]) == 0


def test_recipe_of_a_strangers_wheel_is_a_default(
    recipes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("defaults: [walks/walk, walks/base/part]\n")

    assert main(["config", "show", str(tmp_path / "mine.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["run"]["seed"] == 7
