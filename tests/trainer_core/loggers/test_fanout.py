from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.errors import MissingPackageError
from trainer_core.loggers.fanout import Loggers

if TYPE_CHECKING:
    from collections.abc import Mapping


class Recording:
    def __init__(self, broken: str = "", error: Exception | None = None) -> None:
        self.broken = broken
        self.error = error or RuntimeError("no network")
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.broken:
            raise self.error

    def start(self, run: Mapping[str, Any]) -> None:
        self._call("start")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._call("log")

    def finish(self, status: str) -> None:
        self._call("finish")


@pytest.mark.parametrize(("broken", "calls"), [("start", 1), ("log", 2), ("finish", 4)])
def test_broken_logger_is_switched_off_alone(
    caplog: pytest.LogCaptureFixture, broken: str, calls: int
) -> None:
    bad, good = Recording(broken), Recording()
    loggers = Loggers([bad, good])
    with caplog.at_level(logging.WARNING):
        loggers.start({})
        loggers.log({}, 1)
        loggers.log({}, 2)
        loggers.finish("completed")
    assert len(bad.calls) == calls
    assert good.calls == ["start", "log", "log", "finish"]
    assert caplog.messages == ["the logger Recording is switched off: RuntimeError: no network"]


def test_missing_package_ends_the_run() -> None:
    error = MissingPackageError("the logger 'wandb'", "trainer-core[wandb]")
    with pytest.raises(MissingPackageError):
        Loggers([Recording("start", error)]).start({})
