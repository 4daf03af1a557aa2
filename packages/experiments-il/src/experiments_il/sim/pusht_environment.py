"""PushT as an environment of ours: push a T-shaped block onto its outline."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.sim.environment import Observation, Outcome
from experiments_il.sim.importing import import_simulator
from experiments_il.sim.simulators import PUSHT, check_cameras, require_named_task
from trainer_core.random import derive_seed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["PushTEnvironment", "make_pusht", "require_pusht"]

_SIDE = 512.0
_FILM_SIZE = 384
_PACKAGES = frozenset({"gym_pusht", "gymnasium", "pymunk", "pygame", "shapely", "cv2"})


class PushTEnvironment:
    """Pushes a T onto its outline; solved at 95 % coverage.

    Observations are those of the data sets `lerobot/pusht*`: `observation.state` float32 `(2,)`
    (the agent), `observation.environment_state` float32 `(16,)` (corners of the T), both in pixels
    of 0 to 512; `observation.full_state` float32 `(18,)` is the two together; and pictures.

    An action is the position that the agent is drawn to.

    Args:
        task: `push-t`, the only one.
        seed: Which sequence of starts.
        cameras: Observation key to the name of a camera; there is `top`.
        image_size: Height and width of its picture.
        film: Unused: pictures can be drawn everywhere.

    Raises:
        MissingPackageError: gym-pusht is not installed.
        UserError: There is no such task or camera.
    """

    action_dim = len(PUSHT.actions)
    fps = PUSHT.fps
    max_steps = PUSHT.max_steps

    def __init__(
        self,
        task: str,
        seed: int,
        *,
        cameras: Mapping[str, str] | None = None,
        image_size: Sequence[int] = (64, 64),
        film: bool = False,
    ) -> None:
        del film
        require_named_task(PUSHT, task)
        cameras = cameras or {}
        check_cameras(PUSHT, cameras, image_size)
        height, width = image_size
        self.simulation = make_pusht(
            observation_height=height,
            observation_width=width,
            visualization_height=_FILM_SIZE,
            visualization_width=_FILM_SIZE,
        )
        self.action_low: NDArray[np.float64] = np.zeros(2)
        self.action_high: NDArray[np.float64] = np.full(2, _SIDE)
        shapes: dict[str, tuple[int, ...]] = {
            key: (size,) for key, size in PUSHT.dimensions(task).items()
        }
        self.observation_shapes: Mapping[str, tuple[int, ...]] = shapes | dict.fromkeys(
            cameras, (3, *image_size)
        )
        self._seed = seed
        self._cameras = tuple(cameras)

    @property
    def state(self) -> NDArray[np.float64]:
        """Agent x, y, block x, y and the block's angle in radians `(5,)`."""
        agent, block = self.simulation.agent, self.simulation.block
        return np.array([*agent.position, *block.position, block.angle])

    def reset(self, episode: int) -> Observation:
        """Begin the episode: agent and block are put somewhere at random."""
        self.simulation.reset(seed=derive_seed(self._seed, "episode", episode) % 2**32)
        return self._observe()

    def step(self, action: NDArray[Any]) -> Outcome:
        """Draw the agent to a position for a tenth of a second."""
        target = np.clip(np.asarray(action, np.float64), self.action_low, self.action_high)
        _, reward, _, _, info = self.simulation.step(target)
        return Outcome(self._observe(), float(reward), bool(info["is_success"]), done=False)

    def render(self) -> NDArray[np.uint8]:
        """Return the scene from above `(384, 384, 3)`, with a cross at the action."""
        return np.asarray(self.simulation.render(), np.uint8)

    def close(self) -> None:
        """Close the simulator."""
        self.simulation.close()

    def _observe(self) -> Observation:
        seen = self._look("environment_state_agent_pos")
        agent = np.asarray(seen["agent_pos"], np.float32)
        corners = np.asarray(seen["environment_state"], np.float32)
        observation: dict[str, NDArray[Any]] = {
            "observation.state": agent,
            "observation.environment_state": corners,
            "observation.full_state": np.concatenate([agent, corners]),
        }
        if self._cameras:
            picture = np.ascontiguousarray(self._look("pixels").transpose(2, 0, 1))
            observation |= dict.fromkeys(self._cameras, picture)
        return observation

    def _look(self, kind: str) -> Any:
        self.simulation.obs_type = kind
        return self.simulation.get_obs()


def make_pusht(**options: Any) -> Any:
    """Return gym-pusht's own environment.

    Args:
        **options: Its parameters.

    Raises:
        MissingPackageError: It is not installed.
    """
    return require_pusht()(obs_type="environment_state_agent_pos", **options)


def require_pusht(need: str = "PushT") -> Any:
    """Import gym-pusht and return the class of its environment, or say how to install it.

    Args:
        need: What needs it, for the message.

    Raises:
        MissingPackageError: It is not installed.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    module = import_simulator("gym_pusht.envs.pusht", _PACKAGES, need, "pusht")
    return module.PushTEnv
