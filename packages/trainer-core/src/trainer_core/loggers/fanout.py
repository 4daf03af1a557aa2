"""All loggers of a run as one; whichever fails is switched off with a warning."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Loggers"]

_log = logging.getLogger(__name__)


class Loggers:
    """Passes everything on to several loggers.

    Args:
        loggers: Objects that follow the protocol `MetricLogger`.
    """

    def __init__(self, loggers: Sequence[Any]) -> None:
        self._working = list(loggers)

    def start(self, run: Mapping[str, Any]) -> None:
        """Open all of them; a missing optional package or a wrong parameter ends the run."""
        for logger in tuple(self._working):
            try:
                logger.start(run)
            except UserError:
                raise
            except Exception as exc:  # noqa: BLE001 - a log must not stop a training
                self._switch_off(logger, exc)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Write the metrics of one logged step everywhere."""
        for logger in tuple(self._working):
            try:
                logger.log(metrics, step)
            except Exception as exc:  # noqa: BLE001 - a log must not stop a training
                self._switch_off(logger, exc)

    def finish(self, status: str) -> None:
        """Close all of them."""
        for logger in tuple(self._working):
            try:
                logger.finish(status)
            except Exception as exc:  # noqa: BLE001 - a log must not stop a training
                self._switch_off(logger, exc)

    def _switch_off(self, logger: Any, exc: Exception) -> None:
        self._working.remove(logger)
        name = type(logger).__name__
        _log.warning("the logger %s is switched off: %s: %s", name, type(exc).__name__, exc)
