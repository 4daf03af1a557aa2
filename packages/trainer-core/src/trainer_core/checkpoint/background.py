"""One write at a time beside the training."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BackgroundWriter"]


class BackgroundWriter:
    """Runs one piece of work in a thread; what it raises is raised again where somebody asks.

    Args:
        on_error: Called in the thread after an error, so that the training soon asks.
    """

    def __init__(self, on_error: Callable[[], None]) -> None:
        self._on_error = on_error
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Whether work is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[], None]) -> None:
        """Begin a piece of work, after the last one has ended.

        Raises:
            BaseException: What the last one raised.
        """
        self.join()
        # Not a daemon: an interpreter that ends on its own waits for what was begun.
        self._thread = threading.Thread(target=self._run, args=(work,), name="checkpoint-writer")
        self._thread.start()

    def join(self) -> None:
        """Wait for the work under way.

        Raises:
            BaseException: What it raised.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raise what the work raised, if it did; do not wait."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again in the training's thread
            self._error = error
            self._on_error()
