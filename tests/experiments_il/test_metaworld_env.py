"""Meta-World environments: goals fixed by the seed, messages for what is missing."""

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments_il.sim.metaworld_env import GOALS_PER_SEED, make_env, task_names
from experiments_il.sim.metaworld_environment import MetaWorldEnvironment
from experiments_il.sim.schematic import draw_state
from experiments_il.sim.simulators import METAWORLD
from trainer_core.errors import MissingPackageError, UserError

if TYPE_CHECKING:
    from experiments_il.sim.environment import Environment


def first_states(seed: int, episodes: int, steps: int = 0) -> NDArray[np.float64]:
    env = make_env("reach-v3", seed)
    states = []
    for _ in range(episodes):
        states.append(env.reset()[0].copy())
        for _ in range(steps):
            env.step(np.ones(4, dtype=np.float32))
    env.close()
    return np.stack(states)


def test_seed_fixes_fifty_different_goals() -> None:
    states = first_states(3, GOALS_PER_SEED + 1)
    assert len(np.unique(states[:, 36:], axis=0)) == GOALS_PER_SEED
    assert np.array_equal(states[0], states[-1])


def test_episode_does_not_depend_on_the_one_before() -> None:
    assert np.array_equal(first_states(3, 3), first_states(3, 3, steps=20))


def test_other_seed_has_other_goals() -> None:
    goals = [first_states(seed, 5)[:, 36:] for seed in (3, 4)]
    assert not np.isclose(goals[0][:, None], goals[1][None]).all(axis=-1).any()


def test_episode_can_be_chosen() -> None:
    states = first_states(3, 4)
    env = make_env("reach-v3", 3)
    assert np.array_equal(env.reset(options={"episode": 2})[0], states[2])
    assert np.array_equal(env.reset()[0], states[3])
    env.close()


def test_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        make_env("pickplace-v3", 0)
    assert str(caught.value) == (
        "Meta-World has no task 'pickplace-v3'; "
        "did you mean 'pick-place-v3' or 'pick-place-wall-v3' or 'stick-pull-v3'?"
    )


def test_missing_simulator_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "metaworld", None)
    with pytest.raises(MissingPackageError) as caught:
        make_env("reach-v3", 0)
    assert str(caught.value) == (
        "Meta-World needs a package that is not installed: pip install 'experiments-il[metaworld]'"
    )


def test_there_are_fifty_tasks() -> None:
    assert len(task_names()) == 50


def test_drawing_shows_goal_object_and_hand() -> None:
    state = np.zeros(39)
    state[:3], state[3], state[4:7] = (0.0, 0.6, 0.2), 1.0, (0.2, 0.8, 0.1)
    state[36:] = (-0.2, 0.9, 0.3)
    picture = draw_state(state)
    assert picture.shape == (240, 480, 3)
    colors = {tuple(int(part) for part in color) for color in picture.reshape(-1, 3)}
    assert {(60, 160, 80), (200, 60, 50), (50, 70, 160)} <= colors


def test_cameras_are_those_of_the_model() -> None:
    env = make_env("reach-v3", 0)
    model = env.get_wrapper_attr("model")
    assert [model.camera(number).name for number in range(model.ncam)] == [*METAWORLD.cameras]
    env.close()


def test_every_step_of_an_environment_has_the_shapes_it_declares() -> None:
    environment: Environment = MetaWorldEnvironment("reach-v3", 0)
    observation = environment.reset(0)
    outcome = environment.step(np.full(4, 9.0))
    for seen in (observation, outcome.observation):
        assert {key: value.shape for key, value in seen.items()} == environment.observation_shapes
    assert environment.state.shape == (39,)
    environment.close()


def test_film_without_opengl_shows_a_drawing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "none")
    environment = METAWORLD.make("reach-v3", 0, film=True)
    environment.reset(0)
    assert np.asarray(environment.render()).shape == (240, 480, 3)
    environment.close()
    assert caplog.messages[0].endswith(". The video shows a drawing of the state instead.")


def test_pictures_without_opengl_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "none")
    with pytest.raises(UserError) as caught:
        METAWORLD.make("reach-v3", 0, cameras={"observation.images.top": "topview"})
    assert str(caught.value) == (
        "the simulator cannot draw pictures here (MUJOCO_GL=none): ModuleNotFoundError: "
        "No module named 'mujoco.none'; software drawing needs the system packages "
        "libegl1 and libgl1-mesa-dri"
    )
