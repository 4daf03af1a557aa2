"""What is said of batches without torch is what the batches are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments_il.data.batch_shapes import describe
from experiments_il.data.factory import LeRobotFactory
from experiments_il.sim import recorded
from experiments_il.sim.demonstrations import MetaWorldDemonstrations
from trainer_core import load_experiment

DATA = Path(__file__).parents[1] / "data"
SETS = ["lerobot_v3_image/dataset", "lerobot_v3_video/dataset"]
WINDOWS: dict[str, Any] = {"windows": {"action": [0, 4]}}


def reported(place: object, message: str, suggestions: object = ()) -> None:
    raise AssertionError(place, message, suggestions)


@pytest.mark.parametrize("folder", SETS)
@pytest.mark.parametrize("parameters", [{}, WINDOWS, {"delta_timestamps": {"action": [0.0]}}])
def test_description_is_that_of_the_batch(folder: str, parameters: dict[str, Any]) -> None:
    root = str(DATA / folder)
    batch = LeRobotFactory(root, **parameters).describe_batch(2)
    assert batch is not None
    shapes = describe({"root": root, **parameters}, reported)
    assert shapes == {
        key: tuple(value.shape[1:]) if hasattr(value, "shape") else ()
        for key, value in batch.items()
    }


def test_demonstrations_are_described_before_they_are_recorded(tmp_path: Path) -> None:
    root = str(tmp_path / "none")
    batch = MetaWorldDemonstrations("reach-v3", root, **WINDOWS).describe_batch(2)
    assert batch is not None
    shapes = recorded.describe_metaworld({"root": root, **WINDOWS}, reported)
    assert shapes == {key: tuple(value.shape[1:]) for key, value in batch.items()}


def test_data_set_that_is_not_there_is_said_and_not_described(tmp_path: Path) -> None:
    (tmp_path / "demos").mkdir()
    root, said = tmp_path / "demo", []

    def report(place: object, message: str, near: object, **how: object) -> None:
        said.append((place, message, near, how))

    assert describe({"root": str(root)}, report) is None
    message, near = f"there is no data set at '{root}'", (str(tmp_path / "demos"),)
    assert said == [(("root",), message, near, {"on": "value", "absent": True})]


@pytest.mark.parametrize(
    ("spec", "place", "key"),
    [
        ({"reference": "observation.sate"}, ("action", "reference"), "observation.sate"),
        ({"reference": "observation.state"}, None, None),
        ({}, None, None),
    ],
)
def test_reference_of_relative_actions_must_be_a_key(
    spec: dict[str, Any], place: tuple[str, ...] | None, key: str | None
) -> None:
    found: list[Any] = []
    parameters = {"root": str(DATA / SETS[0]), "relative_actions": {"action": spec}}
    describe(parameters, lambda *said: found.append(said[:2]))
    message = f"the data set has no key {key!r}"
    assert found == ([(("relative_actions", *place), message)] if place else [])


def test_broken_metadata_are_reported_at_the_folder(tmp_path: Path) -> None:
    found = []
    info = tmp_path / "meta" / "info.json"
    info.parent.mkdir()
    info.write_text("{")
    shapes = describe({"root": str(tmp_path)}, lambda *said: found.append(said))
    assert shapes is None
    ((place, message),) = found
    assert place == ("root",)
    assert message.startswith(f"{info}: cannot be read as JSON")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.windows={acton: [0, 8]}", "data.windows.acton: the data set has no key 'acton'"),
        ("data.windows.action=[8, 0]", "data.windows.action: " + "expected two integers"),
        ("data.windows.action=[0, 9999999]", "data.windows.action: reaches 9999999 frames from"),
        ("data.normalize={acton: identity}", "data.normalize.acton: the data set has no key"),
        ("data.keys=[next.don]", "data.keys.0: the data set has no key 'next.don'"),
        ("data.keys=[next.done]", "data: the batches of data.metaworld have no 'observation"),
        ("trainer.action_key=actions", "trainer.action_key: the batches of data.metaworld have no"),
        (
            "trainer.cameras={front: state_encoder}",
            "trainer.cameras.front: the batches of data.metaworld",
        ),
    ],
)
def test_check_of_the_recipe_finds_a_key_that_no_batch_has(
    override: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (problem,) = load_experiment("il/pick_place", [override], strict=False).problems
    assert f"{problem.path}: {problem.message}".startswith(expected)


def test_descriptions_import_nothing_heavy() -> None:
    code = (
        "import sys, experiments_il.data.batch_shapes, experiments_il.sim.recorded\n"
        "import experiments_il.data.mixture_shapes, experiments_il.sim.modes_simulator\n"
        "import experiments_il.trainers.chunk_check, experiments_il.optim_check\n"
        "print([name for name in ('torch', 'numpy', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
