"""What each simulator gives and takes, known without importing it; without torch and numpy."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from policy_constructor.spelling import nearest
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from experiments_il.sim.environment import Environment

__all__ = [
    "ALOHA",
    "METAWORLD",
    "PUSHT",
    "Simulator",
    "WrongSetting",
    "check_cameras",
    "require_named_task",
    "wrong_cameras",
    "wrong_tasks",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """One simulator.

    Attributes:
        name: Of its components and of `trainer data record`.
        title: As people call it.
        robot: Robot type of recorded data sets.
        fps: Steps a second.
        max_steps: Longest episode.
        states: Dimensions of each number-valued observation, by key and, if they differ, task.
        camera_states: Those of `states` that are recorded only beside pictures.
        actions: Names of an action's dimensions.
        cameras: Names of the cameras.
        episodes_per_seed: Different episodes before they start again; None: no end.
        recording_steps: Longest episode of a recording.
        tasks: Names of the tasks; empty: only the installed simulator knows them.
        environment: `module:class`, constructed as `class(task, seed, cameras=..., image_size=...,
            film=...)`.
        experts: By name, `module:function`; called as `function(environment, random)` at the start
            of an episode it returns what turns `environment.state` into an action.
    """

    name: str
    title: str
    robot: str
    fps: int
    max_steps: int
    states: Mapping[str, int | Mapping[str, int]]
    actions: tuple[str, ...]
    cameras: tuple[str, ...]
    environment: str
    experts: Mapping[str, str]
    camera_states: tuple[str, ...] = field(default=())
    episodes_per_seed: int | None = None
    recording_steps: int = 300
    tasks: tuple[str, ...] = ()

    def dimensions(self, task: str) -> dict[str, int]:
        """Return the dimensions of each number-valued observation of a task."""
        return {
            key: size if isinstance(size, int) else size.get(task, next(iter(size.values())))
            for key, size in self.states.items()
        }

    def columns(
        self, task: str, cameras: Mapping[str, str], image_size: Sequence[int]
    ) -> dict[str, dict[str, Any]]:
        """Return the columns of a recording as `info.json` declares them.

        Args:
            task: Name of the task.
            cameras: Observation key to the camera's name.
            image_size: Height and width of pictures.
        """
        states = {
            key: {"dtype": "float32", "shape": [size]}
            for key, size in self.dimensions(task).items()
            if cameras or key not in self.camera_states
        }
        picture = {
            "dtype": "image",
            "shape": [*image_size, 3],
            "names": ["height", "width", "channels"],
        }
        action = {
            "dtype": "float32",
            "shape": [len(self.actions)],
            "names": list(self.actions),
        }
        return {
            **states,
            **{key: dict(picture) for key in cameras},
            "action": action,
            "next.reward": {"dtype": "float32", "shape": [1]},
            "next.done": {"dtype": "bool", "shape": [1]},
            "next.success": {"dtype": "bool", "shape": [1]},
        }

    def make(
        self,
        task: str,
        seed: int,
        *,
        cameras: Mapping[str, str] | None = None,
        image_size: Sequence[int] = (64, 64),
        film: bool = False,
    ) -> Environment:
        """Make an environment.

        Args:
            task: Name of the task.
            seed: Which sequence of episodes. Use different ones to record and to evaluate.
            cameras: Observation key to the name of the camera whose picture it holds.
            image_size: Height and width of these pictures.
            film: Whether `render()` will be called.

        Raises:
            MissingPackageError: The simulator is not installed.
            UserError: There is no such task or camera, or pictures cannot be drawn here.
        """
        environment: Environment = _load(self.environment)(
            task, seed, cameras=cameras or {}, image_size=image_size, film=film
        )
        return environment

    def expert_factory(self, name: str) -> Any:
        """Return the function that makes an expert for each episode.

        Raises:
            UserError: There is no such expert.
        """
        if name not in self.experts:
            message = f"{self.title} has no expert '{name}'; there is {', '.join(self.experts)}"
            raise UserError(message)
        return _load(self.experts[name])


class WrongSetting(NamedTuple):
    """What is wrong with the task or the cameras of a recording or an evaluation.

    Attributes:
        place: Keys of the parameter.
        message: What is wrong.
        suggestions: Nearest right spellings.
    """

    place: tuple[str, ...]
    message: str
    suggestions: tuple[str, ...] = ()


def wrong_cameras(
    simulator: Simulator, cameras: Mapping[str, str], image_size: Sequence[int]
) -> Iterator[WrongSetting]:
    """Yield cameras that a simulator does not have, keys that are taken, and a wrong size."""
    for key, camera in cameras.items():
        if camera not in simulator.cameras:
            there = ", ".join(simulator.cameras)
            message = f"{simulator.title} has no camera '{camera}' (for {key}); there are {there}"
            yield WrongSetting(("cameras", key), message, nearest(camera, simulator.cameras, 1))
        if key in simulator.states:
            message = f"cameras: '{key}' is not free: {simulator.title} gives numbers by that key"
            yield WrongSetting(("cameras", key), message)
    if len(image_size) != 2 or min(image_size) < 1:
        message = f"image_size must be height and width, such as [64, 64], got {list(image_size)}"
        yield WrongSetting(("image_size",), message)


def check_cameras(
    simulator: Simulator, cameras: Mapping[str, str], image_size: Sequence[int]
) -> None:
    """Check that the cameras exist and their pictures have a size.

    Raises:
        UserError: One does not, or has not.
    """
    wrong = next(wrong_cameras(simulator, cameras, image_size), None)
    if wrong is not None:
        raise UserError(wrong.message)


def require_named_task(simulator: Simulator, task: str) -> None:
    """Check that a simulator has a task.

    Raises:
        UserError: It has not; the message names the nearest.
    """
    for wrong in wrong_tasks(simulator, task):
        near = wrong.suggestions
        hint = f"did you mean '{near[0]}'?" if near else f"there is {', '.join(simulator.tasks)}"
        message = f"{wrong.message}; {hint}"
        raise UserError(message)


def wrong_tasks(simulator: Simulator, task: str) -> Iterator[WrongSetting]:
    """Yield what is wrong with the name of a task, where the names are known."""
    if simulator.tasks and task not in simulator.tasks:
        message = f"{simulator.title} has no task '{task}'"
        yield WrongSetting(("task",), message, nearest(task, simulator.tasks))


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


METAWORLD = Simulator(
    name="metaworld",
    title="Meta-World",
    robot="sawyer",
    fps=20,
    max_steps=500,
    states={"observation.state": 39, "observation.proprioception": 4},
    camera_states=("observation.proprioception",),
    actions=("delta_x", "delta_y", "delta_z", "gripper"),
    cameras=("topview", "corner", "corner2", "corner3", "corner4", "behindGripper", "gripperPOV"),
    episodes_per_seed=50,
    environment="experiments_il.sim.metaworld_environment:MetaWorldEnvironment",
    experts={"scripted": "experiments_il.sim.metaworld_environment:scripted_expert"},
)
"""Fifty tasks of a Sawyer arm. An action displaces the hand and closes the gripper, in [-1, 1]."""

PUSHT = Simulator(
    name="pusht",
    title="PushT",
    robot="2d pusher",
    fps=10,
    max_steps=300,
    states={
        "observation.state": 2,
        "observation.environment_state": 16,
        "observation.full_state": 18,
    },
    actions=("x", "y"),
    cameras=("top",),
    environment="experiments_il.sim.pusht_environment:PushTEnvironment",
    experts={"scripted": "experiments_il.sim.pusht_expert:PushingExpert"},
    tasks=("push-t",),
)
"""A disc pushes a T onto its outline. An action is a position in pixels of 0 to 512."""

_ARM = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
ALOHA = Simulator(
    name="aloha",
    title="gym-aloha",
    robot="aloha",
    fps=50,
    max_steps=400,
    recording_steps=400,
    states={
        "observation.state": 14,
        "observation.environment_state": {"transfer-cube": 7, "insertion": 14},
        "observation.full_state": {"transfer-cube": 21, "insertion": 28},
    },
    actions=tuple(f"{side}_{joint}" for side in ("left", "right") for joint in _ARM),
    cameras=(
        "top",
        "angle",
        "front_close",
        "left_pillar",
        "right_pillar",
        "left_wrist",
        "right_wrist",
    ),
    environment="experiments_il.sim.aloha_environment:AlohaEnvironment",
    experts={"scripted": "experiments_il.sim.aloha_expert:scripted_expert"},
    tasks=("transfer-cube", "insertion"),
)
"""Two ViperX arms. An action is joint positions in radians and gripper openings in [0, 1]."""
