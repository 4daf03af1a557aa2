from __future__ import annotations

import logging
from typing import Any

import pytest

from policy_constructor.errors import ConfigError
from trainer_core.discovery.hooking import start_hooks
from trainer_core.engine.hooks import Hooks
from trainer_core.hookspecs import hookimpl


class Listener:
    def __init__(self, name: str, calls: list[str], error: Exception | None = None) -> None:
        self.name = name
        self.calls = calls
        self.error = error

    @hookimpl
    def trainer_step_end(self, logs: Any) -> None:
        self.calls.append(f"{self.name} {logs}")

    @hookimpl
    def trainer_log(self, metrics: Any, step: int) -> None:
        self.calls.append(f"{self.name} {step}")
        if self.error is not None:
            raise self.error

    @hookimpl
    def trainer_fit_start(self, state: Any) -> None:
        if self.error is not None:
            raise self.error


def make_hooks(*callbacks: Any) -> Hooks:
    return Hooks(start_hooks([])[0], callbacks)


def test_callbacks_are_called_in_the_order_of_the_file() -> None:
    calls: list[str] = []
    hooks = make_hooks(Listener("a", calls), Listener("b", calls))
    hooks.call("trainer_log", metrics={}, step=3)
    for function in hooks.step_functions():
        function("state", "logs")
    assert calls == ["a 3", "b 3", "a logs", "b logs"]


def test_error_of_a_hook_names_its_owner() -> None:
    hooks = make_hooks(Listener("a", [], ArithmeticError("boom")))
    with pytest.raises(ArithmeticError) as caught:
        hooks.call("trainer_fit_start", state=None)
    assert caught.value.__notes__ == ["in the hook trainer_fit_start of Listener (callbacks.0)"]


def test_broken_log_hook_is_switched_off_once(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []
    hooks = make_hooks(Listener("a", calls, ArithmeticError("boom")), Listener("b", calls))
    with caplog.at_level(logging.WARNING):
        hooks.call_guarded("trainer_log", metrics={}, step=1)
        hooks.call_guarded("trainer_log", metrics={}, step=2)
    assert calls == ["a 1", "b 1", "b 2"]
    assert caplog.messages == [
        "trainer_log of Listener (callbacks.0) is switched off: ArithmeticError: boom"
    ]


class Unmarked:
    def trainer_fit_start(self, state: Any) -> None:
        """Forgets the mark."""


class Deaf:
    """Has no hook."""


class Curious:
    @hookimpl
    def trainer_fit_start(self, weather: Any) -> None:
        """Asks for what there is not."""


class Misspelt:
    @hookimpl
    def trainer_fit_strat(self, state: Any) -> None:
        """Is named like no hook."""


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (Unmarked(), "Unmarked.trainer_fit_start is not marked with @trainer_core.hookimpl"),
        (Deaf(), "Deaf listens to no hook: it has no method 'trainer_...'"),
        (Curious(), "Curious.trainer_fit_start takes 'weather'; the hook has state"),
        (Misspelt(), "there is none of this name; did you mean 'trainer_fit_start'"),
    ],
)
def test_callback_that_would_not_be_called_is_refused(callback: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_hooks(callback)
    assert message in str(caught.value)
