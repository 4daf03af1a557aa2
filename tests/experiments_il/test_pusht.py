"""PushT: the environment, the expert that demonstrates, and what is recorded of it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from experiments_il.data.column_store import ColumnStore
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.sim.pusht import PushTEvaluator
from experiments_il.sim.pusht_environment import PushTEnvironment
from experiments_il.sim.pusht_paths import Ways, corners_of
from experiments_il.sim.record import RecordingPlan, record_demonstrations
from experiments_il.sim.simulators import PUSHT
from trainer_core.errors import MissingPackageError, UserError

if TYPE_CHECKING:
    from experiments_il.sim.environment import Environment

CAMERA = "observation.image"
START = np.array([256.0, 300.0])


def test_every_observation_has_the_shape_it_declares() -> None:
    environment: Environment = PushTEnvironment(
        "push-t", 0, cameras={CAMERA: "top"}, image_size=(24, 32)
    )
    seen = environment.reset(0)
    assert {key: value.shape for key, value in seen.items()} == environment.observation_shapes
    assert (seen[CAMERA].dtype.name, np.asarray(environment.render()).shape) == (
        "uint8",
        (384, 384, 3),
    )
    whole = np.concatenate([seen["observation.state"], seen["observation.environment_state"]])
    np.testing.assert_array_equal(seen["observation.full_state"], whole)


def test_episode_is_a_function_of_seed_and_number() -> None:
    first, second = PUSHT.make("push-t", 3), PUSHT.make("push-t", 3)
    second.reset(0)
    second.step(np.array([400.0, 400.0]))
    np.testing.assert_array_equal(
        first.reset(5)["observation.full_state"], second.reset(5)["observation.full_state"]
    )
    other = PUSHT.make("push-t", 4).reset(5)["observation.full_state"]
    assert not np.array_equal(first.reset(5)["observation.full_state"], other)


def test_corners_are_those_of_the_simulator() -> None:
    environment = PUSHT.make("push-t", 0)
    seen = environment.reset(0)["observation.environment_state"].reshape(8, 2)
    own = corners_of(environment.state[2:4], environment.state[4])
    gaps = np.linalg.norm(seen[:, None] - own[None], axis=-1).min(axis=1)
    assert (gaps < 1e-3).sum() >= 6  # two corners of the bar lie under the stem


def test_way_leads_around_the_block() -> None:
    ways = Ways(np.array([256.0, 200.0]), START, 0.0)
    points = np.array(ways.walk(np.array([256.0, 480.0]), 24.0))
    u, v = (points - START).T
    bar = np.hypot(np.maximum(np.abs(u) - 60, 0), np.maximum(np.abs(v - 15) - 15, 0))
    assert bar.min() > 15
    assert points[-1].tolist() == [256, 480]


def test_recorded_expert_covers_the_goal(tmp_path: Path) -> None:
    plan = RecordingPlan(
        task="push-t", episodes=1, simulator=PUSHT, cameras={CAMERA: "top"}, image_size=(24, 32)
    )
    recording = record_demonstrations(plan, tmp_path / "out")
    store = ColumnStore(open_lerobot(tmp_path / "out"))
    assert recording.dropped == 0
    assert store.numbers("next.success").any()
    assert store.frames(CAMERA).shape == (recording.frames, 3, 24, 32)
    corners = store.numbers("observation.environment_state")[-1].reshape(8, 2)
    assert np.abs(corners.mean(axis=0) - corners_of((256, 256), np.pi / 4).mean(axis=0)).max() < 20


def test_other_task_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        PUSHT.make("pusht", 0)
    assert str(caught.value) == "PushT has no task 'pusht'; did you mean 'push-t'?"


def test_missing_simulator_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gym_pusht.envs.pusht", None)
    with pytest.raises(MissingPackageError) as caught:
        PushTEvaluator(video_episodes=0)
    assert str(caught.value) == (
        "PushT needs a package that is not installed: pip install 'experiments-il[pusht]'"
    )


def test_unknown_camera_names_those_there_are() -> None:
    with pytest.raises(UserError) as caught:
        PushTEvaluator(cameras={CAMERA: "side"})
    assert str(caught.value) == "PushT has no camera 'side' (for observation.image); there are top"
