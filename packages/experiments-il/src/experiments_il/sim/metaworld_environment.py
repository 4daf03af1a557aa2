"""Meta-World as an environment of ours, and its scripted policies as experts."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.sim.cameras import MujocoCameras
from experiments_il.sim.environment import Observation, Outcome
from experiments_il.sim.metaworld_env import ACTION_DIM, make_env
from experiments_il.sim.schematic import draw_state
from experiments_il.sim.simulators import METAWORLD, check_cameras
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["MetaWorldEnvironment", "scripted_expert"]

_STATE_KEY = "observation.state"
_PROPRIOCEPTION_KEY = "observation.proprioception"
_PROPRIOCEPTION_DIM = 4  # the hand's position and the opening of the gripper
_UPSIDE_DOWN = ("corner", "corner2", "corner3", "corner4")
_FILM = "film"
_FILM_SIZE = (240, 320)
_LOG = logging.getLogger(__name__)


class MetaWorldEnvironment:
    """A Meta-World task; see `metaworld_env.make_env` for the meaning of seed and episode.

    Observations are `observation.state` float32 `(39,)` (the whole scene and the goal),
    `observation.proprioception` float32 `(4,)` (what the robot knows of itself) and pictures.

    Args:
        task: A Meta-World v3 name such as `pick-place-v3`.
        seed: Which sequence of 50 goals.
        cameras: Observation key to the name of a camera.
        image_size: Height and width of these pictures.
        film: Whether `render()` will be called. Where pictures cannot be drawn, it shows a drawing
            of the state instead, and says so.

    Raises:
        MissingPackageError: Meta-World is not installed.
        UserError: There is no such task or camera, or `cameras` are asked for and pictures cannot
            be drawn here.
    """

    action_dim = ACTION_DIM
    fps = METAWORLD.fps
    max_steps = METAWORLD.max_steps

    def __init__(
        self,
        task: str,
        seed: int,
        *,
        cameras: Mapping[str, str] | None = None,
        image_size: Sequence[int] = (64, 64),
        film: bool = False,
    ) -> None:
        cameras = cameras or {}
        check_cameras(METAWORLD, cameras, image_size)
        self.task = task
        self.action_low: NDArray[np.float64] = -np.ones(ACTION_DIM)
        self.action_high: NDArray[np.float64] = np.ones(ACTION_DIM)
        shapes: dict[str, tuple[int, ...]] = {
            key: (size,) for key, size in METAWORLD.dimensions(task).items()
        }
        self.observation_shapes: Mapping[str, tuple[int, ...]] = shapes | dict.fromkeys(
            cameras, (3, *image_size)
        )
        self._env = make_env(task, seed)
        self._state: NDArray[np.float64] = np.zeros(METAWORLD.dimensions(task)[_STATE_KEY])
        model = self._env.get_wrapper_attr("model")
        self._film = _film_camera(model) if film else None
        self._cameras: MujocoCameras | None = None
        if cameras:
            self._cameras = MujocoCameras(model, cameras, image_size, _UPSIDE_DOWN)

    @property
    def state(self) -> NDArray[np.float64]:
        """Meta-World's observation `(39,)`."""
        return self._state

    def reset(self, episode: int) -> Observation:
        """Begin the episode with the goal of this number; after 50 they start again."""
        self._state = np.array(self._env.reset(options={"episode": episode})[0])
        return self._observe()

    def step(self, action: NDArray[Any]) -> Outcome:
        """Do an action, clipped to [-1, 1]."""
        state, reward, _, truncated, info = self._env.step(np.clip(action, -1, 1))
        self._state = np.array(state)
        return Outcome(self._observe(), float(reward), bool(info["success"]), bool(truncated))

    def render(self) -> NDArray[np.uint8]:
        """Return the scene from a corner `(240, 320, 3)`, or a drawing of it `(240, 480, 3)`."""
        if self._film is None:
            return draw_state(self._state)
        picture = self._film.draw(self._env.get_wrapper_attr("data"))[_FILM]
        return np.ascontiguousarray(picture.transpose(1, 2, 0))

    def close(self) -> None:
        """Close the simulator and its cameras."""
        for cameras in (self._cameras, self._film):
            if cameras is not None:
                cameras.close()
        self._env.close()

    def _observe(self) -> Observation:
        state = self._state.astype(np.float32)
        observation: dict[str, NDArray[Any]] = {
            _STATE_KEY: state,
            _PROPRIOCEPTION_KEY: state[:_PROPRIOCEPTION_DIM],
        }
        if self._cameras is not None:
            observation |= self._cameras.draw(self._env.get_wrapper_attr("data"))
        return observation


def scripted_expert(
    environment: MetaWorldEnvironment, random: np.random.Generator
) -> Callable[[NDArray[np.float64]], NDArray[Any]]:
    """Return Meta-World's own scripted policy of the environment's task.

    Args:
        environment: Whose task it is.
        random: Unused; the script is deterministic.
    """
    del random
    from metaworld.policies import ENV_POLICY_MAP  # noqa: PLC0415 - optional package

    policy_class: Any = ENV_POLICY_MAP[environment.task]
    policy = policy_class()

    def act(state: NDArray[np.float64]) -> NDArray[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scripts exceed the action range; it is clipped later
            action: NDArray[Any] = policy.get_action(state)
        return action

    return act


def _film_camera(model: Any) -> MujocoCameras | None:
    """Return the camera of videos, or None where pictures cannot be drawn."""
    try:
        return MujocoCameras(model, {_FILM: "corner2"}, _FILM_SIZE, _UPSIDE_DOWN, shadows=True)
    except UserError as error:
        _LOG.warning("%s. The video shows a drawing of the state instead.", error)
        return None
