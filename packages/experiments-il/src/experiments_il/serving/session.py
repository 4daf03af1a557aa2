"""One connection: its history, its noise, and what its messages are answered with."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.serving.batching import OverloadError
from experiments_il.serving.observations import RESET, History, ObservationError
from experiments_il.serving.wire import WireError, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from experiments_il.serving.batching import Answer, Batcher
    from experiments_il.serving.description import PolicyDescription
    from experiments_il.serving.latency import ServerStatistics

__all__ = ["Reply", "Session"]


@dataclass(frozen=True)
class Reply:
    """What a message is answered with.

    Attributes:
        content: Bytes of a message, or the text of an error.
        infer_ms: Share of the policy; None where no chunk is sent.
        is_last: Whether the connection is closed after it.
    """

    content: bytes | str
    infer_ms: float | None = None
    is_last: bool = False


class Session:
    """Answers the messages of one client, one after the other.

    Args:
        description: Of the policy.
        batcher: What computes chunks.
        statistics: Of the server; errors are counted here, answers by `sent`.
        is_stopping: Whether the server takes no further observation.
        seed: Seed of the noise, and the number of the connection: a plan's noise depends on them
            and on the number of the plan, not on other clients.
    """

    def __init__(
        self,
        description: PolicyDescription,
        batcher: Batcher,
        statistics: ServerStatistics,
        is_stopping: Callable[[], bool],
        seed: tuple[int, int] = (0, 0),
    ) -> None:
        self._description = description
        self._batcher = batcher
        self._statistics = statistics
        self._is_stopping = is_stopping
        self._seed = seed
        self._plans = 0
        self._history = History(description)
        self._previous_ms: float | None = None

    async def reply(self, message: bytes | str) -> Reply:
        """Return what a message is answered with; whatever is wrong with it is said."""
        statistics = self._statistics
        try:
            return await self._reply(_read(message))
        except WireError as error:
            statistics.refused += 1
            return Reply(f"WireError: {error}", is_last=True)
        except ObservationError as error:
            statistics.refused += 1
            return Reply(f"ObservationError: {error}")
        except OverloadError as error:
            statistics.overloaded += 1
            return Reply(f"OverloadError: {error}")
        except Exception as error:  # noqa: BLE001 - a policy may raise anything; others go on
            statistics.failed += 1
            return Reply(f"the policy failed: {type(error).__name__}: {error}")

    def sent(self, reply: Reply, since: float) -> None:
        """Count an answer that has been sent to a message that came at `since`."""
        self._previous_ms = 1000 * (time.perf_counter() - since)
        if reply.infer_ms is not None:
            self._statistics.add(self._previous_ms, reply.infer_ms)

    async def _reply(self, message: Any) -> Reply:
        if isinstance(message, dict) and message.get(RESET):
            self._history.forget()
            if set(message) == {RESET}:
                return Reply(pack({RESET: True, "server_timing": self._timing(None)}))
        if self._is_stopping():
            msg = "the server stops and takes no further observation"
            raise OverloadError(msg)
        answer = await self._batcher.submit(self._history.add(message), self._noise())
        actions = answer.chunk[-self._description.action_offset :]
        content = pack({"actions": actions, "server_timing": self._timing(answer)})
        return Reply(content, answer.infer_ms)

    def _timing(self, answer: Answer | None) -> dict[str, float | int]:
        timing: dict[str, float | int] = {"infer_ms": 0.0}
        if answer is not None:
            timing |= {
                "infer_ms": answer.infer_ms,
                "queue_ms": answer.queue_ms,
                "batch_size": answer.batch,
            }
        if self._previous_ms is not None:
            timing["prev_total_ms"] = self._previous_ms
        return timing

    def _noise(self) -> Any:
        generator = np.random.default_rng([*self._seed, self._plans])
        self._plans += 1
        return generator.standard_normal(self._description.noise_shape, dtype=np.float32)


def _read(message: bytes | str) -> Any:
    if isinstance(message, str):
        msg = "a message is MessagePack in a binary frame, and this is text"
        raise WireError(msg)
    return unpack(message)
