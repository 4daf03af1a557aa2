"""A recipe copied into a folder of one's own: its parts are named as they are called from there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import experiments_il.recipes
from trainer_core.discovery.plugins import discover
from trainer_core.experiment.loading import load_experiment

FOLDER = Path(experiments_il.recipes.__file__).parent


@pytest.mark.parametrize(
    ("recipe", "path", "meant"),
    [
        ("pick_place", "models.state_encoder.config", "il/models/state_encoder"),
        ("vfp_small", "defaults.0", "il/pick_place"),
        ("vfp", "defaults.0", "il/parts/three_cameras"),
    ],
)
def test_part_of_a_copied_recipe_is_suggested_as_that_of_its_wheel(
    recipe: str, path: str, meant: str, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(FOLDER / f"{recipe}.yaml", tmp_path))
    problems = load_experiment(copy, strict=False).problems
    (problem,) = [problem for problem in problems if problem.path == path]
    assert (problem.code, problem.suggestions[0]) == ("missing-file", meant)


def test_copied_recipe_runs_once_its_parts_are_named_as_suggested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (FOLDER / "pick_place.yaml").read_text().replace("config: models/", "config: il/models/")
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    assert load_experiment(file, strict=False).problems == []


@pytest.mark.parametrize("name", ["", "/models/state_encoder.yaml", "../models/state_encoder.yaml"])
def test_names_that_lead_elsewhere_end_in_no_recipe(name: str) -> None:
    assert discover().recipes_ending(name) == ()
