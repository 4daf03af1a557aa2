"""The hooks of one run: plugins and callbacks, resolved once into plain functions."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from policy_constructor.errors import ConfigError, Problem
from policy_constructor.spelling import nearest
from trainer_core import hookspecs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pluggy

__all__ = ["Hooks"]

_log = logging.getLogger(__name__)


class _Listener(NamedTuple):
    owner: str
    function: Callable[..., Any]
    arguments: tuple[str, ...]

    def call(self, values: dict[str, Any]) -> None:
        self.function(*[values[name] for name in self.arguments])


class Hooks:
    """Calls what listens to a hook: the callbacks in the order of the file, then the plugins.

    Args:
        manager: Holds the hook plugins and knows the hooks' names and arguments.
        callbacks: Objects with methods marked by `hookimpl`.

    Raises:
        ConfigError: A callback listens to no hook, or has a method that would not be called: not
            marked, misspelt, or with an argument that the hook does not have.
    """

    def __init__(self, manager: pluggy.PluginManager, callbacks: Sequence[Any] = ()) -> None:
        self._manager = manager
        for number, callback in reversed(list(enumerate(callbacks))):
            _require_hooks(manager, callback)
            name = f"{type(callback).__name__} (callbacks.{number})"
            manager.register(callback, name=name)
        self._listeners: dict[str, list[_Listener]] = {}

    def add(self, listener: Any) -> None:
        """Let a runner listen too: an object with methods marked by `hookimpl`."""
        self._manager.register(listener, name=type(listener).__name__)
        self._listeners.clear()

    def call(self, name: str, **values: Any) -> None:
        """Call a hook; an error in it ends the run, with a note that says whose it is."""
        for listener in self._find(name):
            try:
                listener.call(values)
            except Exception as exc:
                exc.add_note(f"in the hook {name} of {listener.owner}")
                raise

    def call_guarded(self, name: str, **values: Any) -> None:
        """Call a hook; who raises is reported once and not called again."""
        listeners = self._find(name)
        for listener in tuple(listeners):
            try:
                listener.call(values)
            except Exception as exc:  # noqa: BLE001 - a log must not stop a training
                listeners.remove(listener)
                reason = f"{type(exc).__name__}: {exc}"
                _log.warning("%s of %s is switched off: %s", name, listener.owner, reason)

    def step_functions(self) -> tuple[Callable[[Any, Any], None], ...]:
        """Return the listeners of `trainer_step_end` as functions of (state, logs)."""
        return tuple(_as_step_function(each) for each in self._find("trainer_step_end"))

    def _find(self, name: str) -> list[_Listener]:
        if name not in self._listeners:
            caller = getattr(self._manager.hook, name)
            # pluggy lists the first to be called last.
            self._listeners[name] = [
                _Listener(impl.plugin_name, impl.function, tuple(impl.argnames))
                for impl in reversed(caller.get_hookimpls())
            ]
        return self._listeners[name]


def _as_step_function(listener: _Listener) -> Callable[[Any, Any], None]:
    if listener.arguments == ("state", "logs"):
        return listener.function

    def call(state: Any, logs: Any) -> None:
        listener.call({"state": state, "logs": logs})

    return call


def _require_hooks(manager: pluggy.PluginManager, callback: Any) -> None:
    owner = type(callback).__name__
    names = [name for name in dir(type(callback)) if name.startswith("trainer_")]
    if not names:
        _refuse(f"{owner} listens to no hook: it has no method 'trainer_...'")
    known = [name for name in vars(hookspecs) if name.startswith("trainer_")]
    for name in names:
        if name not in known:
            message = f"{owner}.{name} is named like a hook, and there is none of this name"
            _refuse(message, nearest(name, known))
        if manager.parse_hookimpl_opts(callback, name) is None:
            _refuse(f"{owner}.{name} is not marked with @trainer_core.hookimpl")
        wanted = set(inspect.signature(getattr(callback, name)).parameters)
        offered = inspect.signature(getattr(hookspecs, name)).parameters
        if wanted - set(offered):
            message = (
                f"{owner}.{name} takes {', '.join(sorted(wanted - set(offered)))!r}; "
                f"the hook has {', '.join(offered)}"
            )
            _refuse(message)


def _refuse(message: str, suggestions: tuple[str, ...] = ()) -> NoReturn:
    raise ConfigError(Problem(message, path="callbacks", code="no-hook", suggestions=suggestions))
