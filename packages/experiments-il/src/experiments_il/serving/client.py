"""A policy that is served elsewhere. Needs numpy, msgpack and websockets, and no torch."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from websockets.sync.client import connect

from experiments_il.serving.wire import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["PolicyClient", "RefusedError"]


class RefusedError(RuntimeError):
    """The server answered with an error; the connection may go on unless it says otherwise."""


class PolicyClient:
    """Plays a served policy: observations in, one action at a time out.

    Args:
        host: Of the server.
        port: Of the server.
        n_action_steps: Actions executed of a chunk before the next is asked for; None: as trained.
        timeout_s: How long connecting and each answer may take.

    Raises:
        OSError: There is no server.
        TimeoutError: It does not answer.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        n_action_steps: int | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._timeout_s = timeout_s
        opening = connect(
            f"ws://{host}:{port}", compression=None, max_size=None, open_timeout=timeout_s
        )
        self._open = ExitStack()
        self._connection = self._open.enter_context(opening)
        self.metadata: dict[str, Any] = unpack(self._receive())
        self._steps: int = n_action_steps or self.metadata["n_action_steps"]
        frames: int = self.metadata["n_obs_steps"]
        self._history: deque[Mapping[str, Any]] = deque(maxlen=frames)
        self._plan: deque[NDArray[np.float32]] = deque()

    def act(self, observation: Mapping[str, Any]) -> NDArray[np.float32]:
        """Return the next action `(A,)`; asks the server when the last chunk has been played.

        Args:
            observation: The newest frame: key to array, in the data set's units.

        Raises:
            RefusedError: The server refuses the observation.
        """
        missing = (self._history.maxlen or 1) if not self._history else 1
        self._history.extend([observation] * missing)
        if not self._plan:
            frames = {key: np.stack([each[key] for each in self._history]) for key in observation}
            self._plan.extend(self.infer(frames)["actions"][: self._steps])
        return self._plan.popleft()

    def infer(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """Return the server's whole answer: `actions` `(H, A)` and `server_timing`.

        Args:
            observation: Key to the newest frame, or to all frames of the history `(T, ...)`.

        Raises:
            RefusedError: The server refuses the observation.
        """
        self._connection.send(pack(dict(observation)))
        answer: dict[str, Any] = unpack(self._receive())
        return answer

    def reset(self) -> None:
        """Begin an episode: forget history and plan, also on the server."""
        self._history.clear()
        self._plan.clear()
        self.infer({"reset": True})

    def close(self) -> None:
        """Close the connection."""
        self._open.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connection."""
        self.close()

    def _receive(self) -> bytes:
        answer = self._connection.recv(timeout=self._timeout_s)
        if isinstance(answer, str):
            raise RefusedError(answer)
        return answer
