"""gym-aloha: the environment, the expert that hands over the cube, messages."""

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from experiments_il.sim.aloha import AlohaEvaluator
from experiments_il.sim.aloha_environment import AlohaEnvironment
from experiments_il.sim.aloha_expert import scripted_expert
from experiments_il.sim.simulators import ALOHA
from trainer_core.errors import MissingPackageError, UserError

if TYPE_CHECKING:
    from experiments_il.sim.environment import Environment

CAMERA = "observation.images.top"
RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("task", ALOHA.tasks)
def test_every_observation_has_the_shape_it_declares(task: str) -> None:
    environment: Environment = AlohaEnvironment(task, 0)
    seen = environment.reset(0)
    assert {key: value.shape for key, value in seen.items()} == environment.observation_shapes
    outcome = environment.step(np.zeros(14))
    assert (outcome.reward, outcome.success, outcome.done) == (0.0, False, False)
    environment.close()


def test_cameras_are_those_of_the_model() -> None:
    environment = AlohaEnvironment("transfer-cube", 0, cameras={CAMERA: "top"}, image_size=(24, 32))
    model = environment.physics.model.ptr
    names = {model.camera(number).name for number in range(model.ncam)}
    assert names == set(ALOHA.cameras)
    picture = environment.reset(0)[CAMERA]
    assert (picture.dtype.name, picture.shape) == ("uint8", (3, 24, 32))
    assert picture.std() > 10
    environment.close()


def test_expert_hands_the_cube_over() -> None:
    environment = AlohaEnvironment("transfer-cube", 0)
    environment.reset(2)
    expert = scripted_expert(environment, RANDOM)
    rewards = [environment.step(expert(environment.state)).reward for _ in range(300)]
    assert max(rewards) == 4
    assert np.abs(environment.state[14:16] - (0, 0.5)).max() < 0.1
    environment.close()


def test_physics_that_diverge_are_a_failure() -> None:
    environment = AlohaEnvironment("transfer-cube", 0)
    environment.reset(0)
    environment.physics.data.qvel[:] = 1e12
    outcome = environment.step(np.zeros(14))
    assert (outcome.reward, outcome.success, outcome.done) == (0.0, False, True)
    assert np.isfinite(environment.reset(0)["observation.full_state"]).all()
    environment.close()


def test_insertion_has_no_expert() -> None:
    environment = AlohaEnvironment("insertion", 0)
    with pytest.raises(UserError) as caught:
        scripted_expert(environment, RANDOM)
    assert str(caught.value) == (
        "gym-aloha's scripted expert can only transfer-cube, not insertion"
    )
    environment.close()


def test_other_task_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        ALOHA.make("transfer_cube", 0)
    assert str(caught.value) == (
        "gym-aloha has no task 'transfer_cube'; did you mean 'transfer-cube'?"
    )


def test_missing_simulator_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gym_aloha.tasks.sim", None)
    with pytest.raises(MissingPackageError) as caught:
        AlohaEvaluator(video_episodes=0)
    assert str(caught.value) == (
        "gym-aloha needs a package that is not installed: pip install 'experiments-il[aloha]'"
    )


def test_film_without_opengl_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    AlohaEnvironment("transfer-cube", 0).close()  # dm_control wants a known library itself
    monkeypatch.setenv("MUJOCO_GL", "none")
    environment = AlohaEnvironment("transfer-cube", 0, film=True)
    environment.reset(0)
    assert environment.render() is None
    environment.close()
    assert caplog.messages[0].endswith(". There will be no video.")
