"""From chunks to one action at a time: how chunks relate to frames, and in which order they act.

Imports no torch: a robot's process that gets chunks from a server uses the same queues.

Shapes: T history, H chunk length, A action dimension.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from policy_constructor.spelling import did_you_mean, nearest
from trainer_core.errors import UserError

__all__ = [
    "ActionQueue",
    "ChunkSettings",
    "EnsemblingQueue",
    "Execution",
    "RecedingHorizonQueue",
    "make_queue",
]

Execution: TypeAlias = Literal["receding_horizon", "temporal_ensembling"]
"""Do several actions of a chunk before the next is planned; or plan at every step and average."""

_EXECUTIONS = ("receding_horizon", "temporal_ensembling")


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """How chunks relate to frames; stored with a checkpoint, used by data set and executor alike.

    Attributes:
        n_obs_steps: Frames of an observation's history, the current one included.
        n_action_steps: Actions E of a chunk that are executed before the next is planned. Fewer
            react faster, more keep to one plan. Temporal ensembling plans at every step.
        action_offset: Frame of a chunk's first action relative to the current frame; -1 when
            windows begin one frame early. Earlier actions of a chunk are skipped.
        execution: How chunks become actions.
        ensembling_coefficient: c of the weights `exp(-c i)` of temporal ensembling, i = 0 for the
            oldest prediction. Larger: old plans count more; 0: all alike; negative: new ones more.

    Raises:
        UserError: A value is out of its range.
    """

    n_obs_steps: int = 1
    n_action_steps: int = 8
    action_offset: int = 0
    execution: Execution = "receding_horizon"
    ensembling_coefficient: float = 0.01

    def __post_init__(self) -> None:
        """Check each value on its own."""
        for name, value in (
            ("n_obs_steps", self.n_obs_steps),
            ("n_action_steps", self.n_action_steps),
        ):
            if value < 1:
                message = f"{name} must be at least 1, got {value}"
                raise UserError(message)
        if self.action_offset > 0:
            message = (
                f"action_offset must be 0 or negative, got {self.action_offset}: "
                "a chunk has to contain the current frame's action"
            )
            raise UserError(message)
        if self.execution not in _EXECUTIONS:
            near = did_you_mean(nearest(str(self.execution), _EXECUTIONS))
            message = f"unknown execution '{self.execution}'; known: {', '.join(_EXECUTIONS)}{near}"
            raise UserError(message)
        if not math.isfinite(self.ensembling_coefficient):
            message = f"ensembling_coefficient must be finite, got {self.ensembling_coefficient}"
            raise UserError(message)

    def check_horizon(self, horizon: int) -> None:
        """Check that a chunk of `horizon` actions holds those to execute.

        Raises:
            UserError: It does not.
        """
        available = horizon + self.action_offset
        needed = self.n_action_steps if self.execution == "receding_horizon" else 1
        if needed > available:
            message = (
                f"n_action_steps is {needed}, but a chunk has {available} actions "
                f"from the current frame on (horizon {horizon}, action_offset "
                f"{self.action_offset})"
            )
            raise UserError(message)


class ActionQueue(ABC):
    """One robot's history of observations and what is planned for it.

    At each control step: `observe`; if it `needs_chunk`, plan from `history` and `put` the chunk;
    `pop` the action. Chunks are tensors, arrays or lists of H actions.

    Args:
        settings: How chunks relate to frames.
        horizon: Chunk length H.

    Raises:
        UserError: A chunk does not hold the actions to execute.
    """

    def __init__(self, settings: ChunkSettings, horizon: int) -> None:
        settings.check_horizon(horizon)
        self.settings = settings
        self.horizon = horizon
        self._history: deque[Any] = deque(maxlen=settings.n_obs_steps)
        self._now = -1

    @property
    def history(self) -> list[Any]:
        """The newest T frames, oldest first; the first frame of an episode fills it."""
        return list(self._history)

    @property
    @abstractmethod
    def needs_chunk(self) -> bool:
        """Whether a chunk planned from the newest frame is wanted now."""

    def reset(self) -> None:
        """Forget everything: an episode begins."""
        self._history.clear()
        self._now = -1

    def observe(self, frame: Any) -> None:
        """Append a frame of observations."""
        self._now += 1
        missing = self.settings.n_obs_steps if not self._history else 1
        self._history.extend([frame] * missing)

    def put(self, chunk: Any, age: int = 0) -> None:
        """Take a chunk.

        Args:
            chunk: H actions.
            age: Frames observed since the one that it was planned from, when planning takes its
                time while the robot goes on; actions that are past are skipped.

        Raises:
            ValueError: It has another length, or no action for the newest frame.
        """
        if len(chunk) != self.horizon:
            message = f"a chunk has {self.horizon} actions, this one {len(chunk)}"
            raise ValueError(message)
        if age - self.settings.action_offset >= self.horizon:
            message = f"the chunk was planned {age} frames ago and has no action for this one"
            raise ValueError(message)
        self._take(chunk, age)

    @abstractmethod
    def pop(self) -> Any:
        """Return the action of the newest frame.

        Raises:
            IndexError: Nothing is planned for it.
        """

    @abstractmethod
    def _take(self, chunk: Any, age: int) -> None:
        """Keep a chunk whose length and age fit."""


class RecedingHorizonQueue(ActionQueue):
    """Executes E actions of a chunk; a new chunk replaces what is left of the last."""

    def __init__(self, settings: ChunkSettings, horizon: int) -> None:
        super().__init__(settings, horizon)
        self._plan: deque[Any] = deque()

    @property
    def needs_chunk(self) -> bool:
        """Whether the plan has run out."""
        return not self._plan

    def reset(self) -> None:
        """Forget everything: an episode begins."""
        super().reset()
        self._plan.clear()

    def pop(self) -> Any:
        """Return the next action of the plan."""
        if not self._plan:
            message = "no action is left: put a chunk first"
            raise IndexError(message)
        return self._plan.popleft()

    def _take(self, chunk: Any, age: int) -> None:
        first = age - self.settings.action_offset
        self._plan = deque(chunk[first : first + self.settings.n_action_steps])


class EnsemblingQueue(ActionQueue):
    """Averages what all chunks say about the newest frame, with weights `exp(-c i)`.

    i = 0 is the oldest of them.

    Source: Zhao et al., "ACT", arXiv:2304.13705, section IV-A.
    """

    def __init__(self, settings: ChunkSettings, horizon: int) -> None:
        super().__init__(settings, horizon)
        self._chunks: deque[tuple[int, Any]] = deque()

    @property
    def needs_chunk(self) -> bool:
        """Whether none was planned from the newest frame."""
        return not self._chunks or self._chunks[-1][0] < self._now

    def reset(self) -> None:
        """Forget everything: an episode begins."""
        super().reset()
        self._chunks.clear()

    def pop(self) -> Any:
        """Return the average of the predictions for the newest frame."""
        while self._chunks and self._index(self._chunks[0][0]) >= self.horizon:
            self._chunks.popleft()
        if not self._chunks:
            message = "no chunk has an action for this frame: put one first"
            raise IndexError(message)
        predictions = [chunk[self._index(made)] for made, chunk in self._chunks]
        c = self.settings.ensembling_coefficient
        weights = [math.exp(-c * i) for i in range(len(predictions))]
        total = sum(weights)
        average = predictions[0] * (weights[0] / total)
        for weight, prediction in zip(weights[1:], predictions[1:], strict=True):
            average = average + prediction * (weight / total)
        return average

    def _take(self, chunk: Any, age: int) -> None:
        self._chunks.append((self._now - age, chunk))

    def _index(self, made: int) -> int:
        """Return which action of a chunk, planned at frame `made`, is that of the newest frame."""
        return self._now - made - self.settings.action_offset


def make_queue(settings: ChunkSettings, horizon: int) -> ActionQueue:
    """Return an empty queue that executes as the settings say.

    Raises:
        UserError: A chunk does not hold the actions to execute.
    """
    if settings.execution == "temporal_ensembling":
        return EnsemblingQueue(settings, horizon)
    return RecedingHorizonQueue(settings, horizon)
