"""gym-aloha as an environment of ours: two arms hand over a cube, or insert a peg."""

from __future__ import annotations

import importlib
import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.sim.cameras import MujocoCameras
from experiments_il.sim.environment import Observation, Outcome
from experiments_il.sim.importing import import_simulator
from experiments_il.sim.simulators import ALOHA, check_cameras, require_named_task
from trainer_core.errors import UserError
from trainer_core.random import derive_seed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["AlohaEnvironment", "require_aloha"]

_LOG = logging.getLogger(__name__)
_FILM = "film"
_FILM_SIZE = (240, 320)
_SOLVED = 4
_GRIPPERS = (6, 13)
_PACKAGES = frozenset({"gym_aloha", "dm_control", "gymnasium", "mujoco"})
_MODELS = {
    "transfer-cube": ("bimanual_viperx_transfer_cube.xml", "TransferCubeTask"),
    "insertion": ("bimanual_viperx_insertion.xml", "InsertionTask"),
}


class AlohaEnvironment:
    """Two ViperX arms at a table, driven by joint positions.

    Observations are `observation.state` float32 `(14,)` (joints in radians, grippers in [0, 1], as
    in the data sets of ALOHA), `observation.environment_state` (position and quaternion of the
    cube `(7,)`, or of peg and socket `(14,)`), `observation.full_state` (both) and pictures.

    Args:
        task: `transfer-cube` or `insertion`.
        seed: Which sequence of starts.
        cameras: Observation key to the name of a camera.
        image_size: Height and width of these pictures.
        film: Whether `render()` will be called. Where pictures cannot be drawn, there is no video,
            and a warning says so.

    Raises:
        MissingPackageError: gym-aloha is not installed.
        UserError: There is no such task or camera, or pictures are asked for and cannot be drawn.
    """

    action_dim = len(ALOHA.actions)
    fps = ALOHA.fps
    max_steps = ALOHA.max_steps

    def __init__(
        self,
        task: str,
        seed: int,
        *,
        cameras: Mapping[str, str] | None = None,
        image_size: Sequence[int] = (64, 64),
        film: bool = False,
    ) -> None:
        require_named_task(ALOHA, task)
        cameras = cameras or {}
        check_cameras(ALOHA, cameras, image_size)
        self.task = task
        self._seed = seed
        self._control, self.physics = _simulation(task)
        self._diverged = importlib.import_module("dm_control.rl.control").PhysicsError
        self._objects = ALOHA.dimensions(task)["observation.environment_state"]
        shapes: dict[str, tuple[int, ...]] = {
            key: (size,) for key, size in ALOHA.dimensions(task).items()
        }
        self.observation_shapes: Mapping[str, tuple[int, ...]] = shapes | dict.fromkeys(
            cameras, (3, *image_size)
        )
        self.action_low, self.action_high = _limits(self.physics)
        model = self.physics.model.ptr
        self._film = _film_camera(model) if film else None
        self._cameras = MujocoCameras(model, cameras, image_size) if cameras else None

    @property
    def state(self) -> NDArray[np.float64]:
        """Joints and grippers `(14,)`, then position and quaternion of each object."""
        joints = np.asarray(self._control.task.get_qpos(self.physics), np.float64)
        return np.concatenate([joints, self.physics.data.qpos[-self._objects :]])

    def reset(self, episode: int) -> Observation:
        """Begin the episode: the arms are where they always begin, the objects anywhere."""
        utils = importlib.import_module("gym_aloha.utils")
        seed = derive_seed(self._seed, "episode", episode) % 2**32
        if self.task == "insertion":
            pose = np.concatenate(utils.sample_insertion_pose(seed))
        else:
            pose = utils.sample_box_pose(seed)
        importlib.import_module("gym_aloha.tasks.sim").BOX_POSE[0] = pose
        self._control.reset()
        return self._observe()

    def step(self, action: NDArray[Any]) -> Outcome:
        """Draw the joints to their positions for a fiftieth of a second.

        Actions so wild that the physics diverge end the episode, which has failed.
        """
        target = np.clip(np.asarray(action, np.float64), self.action_low, self.action_high)
        try:
            reward = float(self._control.step(target).reward)
        except self._diverged:
            return Outcome(self._observe(), 0.0, success=False, done=True)
        return Outcome(self._observe(), reward, reward == _SOLVED, done=False)

    def render(self) -> NDArray[np.uint8] | None:
        """Return the scene from above `(240, 320, 3)`; None where pictures cannot be drawn."""
        if self._film is None:
            return None
        picture = self._film.draw(self.physics.data.ptr)[_FILM]
        return np.ascontiguousarray(picture.transpose(1, 2, 0))

    def close(self) -> None:
        """Free the simulator and its cameras."""
        for cameras in (self._cameras, self._film):
            if cameras is not None:
                cameras.close()
        self._control.close()

    def _observe(self) -> Observation:
        state = self.state.astype(np.float32)
        observation: dict[str, NDArray[Any]] = {
            "observation.state": state[: self.action_dim],
            "observation.environment_state": state[self.action_dim :],
            "observation.full_state": state,
        }
        if self._cameras is not None:
            observation |= self._cameras.draw(self.physics.data.ptr)
        return observation


def require_aloha(need: str = "gym-aloha") -> Any:
    """Import gym-aloha's tasks and return their module, or say how to install it.

    Args:
        need: What needs it, for the message.

    Raises:
        MissingPackageError: It is not installed.
        UserError: It is installed and its import fails, usually for want of OpenGL libraries.
    """
    return import_simulator("gym_aloha.tasks.sim", _PACKAGES, need, "aloha")


def _simulation(task: str) -> tuple[Any, Any]:
    """Return dm_control's environment and its physics, without the pictures of each step."""
    tasks = require_aloha()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in `import_simulator`
        constants = importlib.import_module("gym_aloha.constants")
        engine = importlib.import_module("dm_control.mujoco")
        control = importlib.import_module("dm_control.rl.control")
    file, name = _MODELS[task]
    physics = engine.Physics.from_xml_path(str(constants.ASSETS_DIR / file))
    own = type(name, (getattr(tasks, name),), {"get_observation": lambda *_: {}})()
    environment = control.Environment(
        physics, own, float("inf"), control_timestep=constants.DT, flat_observation=False
    )
    return environment, physics


def _film_camera(model: Any) -> MujocoCameras | None:
    """Return the camera of videos, or None where pictures cannot be drawn."""
    try:
        return MujocoCameras(model, {_FILM: "top"}, _FILM_SIZE, shadows=True)
    except UserError as error:
        _LOG.warning("%s. There will be no video.", error)
        return None


def _limits(physics: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smallest and the largest action: the actuators' ranges, grippers 0 and 1."""
    ranges = np.asarray(physics.model.actuator_ctrlrange, np.float64)  # two fingers a gripper
    ranges = np.delete(ranges, (7, 15), axis=0)
    ranges[_GRIPPERS, :] = (0.0, 1.0)
    return ranges[:, 0].copy(), ranges[:, 1].copy()
