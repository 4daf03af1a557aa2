"""One thread for the policy, in which a call that never ends does not keep the process alive."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Worker"]


class Worker:
    """Runs functions one after the other; a pool of the standard library would wait at the end.

    It is the same thread for all calls, because libraries keep threads of their own for each.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Callable[..., None]] | None]
        self._calls = queue.SimpleQueue()
        threading.Thread(target=self._work, name="policy", daemon=True).start()

    async def call(self, function: Callable[[], Any]) -> Any:
        """Return what a function returns, or raise what it raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def deliver(result: Any, error: Exception | None) -> None:
            if not answer.done():
                if error is None:
                    answer.set_result(result)
                else:
                    answer.set_exception(error)

        def post(result: Any, error: Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(deliver, result, error)

        self._calls.put((function, post))
        return await answer

    def stop(self) -> None:
        """Let the thread end when it has nothing more to do."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            function, post = call
            try:
                result = function()
            except Exception as error:  # noqa: BLE001 - raised again where it was asked for
                post(None, error)
            else:
                post(result, None)
