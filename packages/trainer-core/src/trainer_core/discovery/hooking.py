"""Starts the hooks: imports hook plugins and registers them in an order that is always the same."""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pluggy

from trainer_core import hookspecs
from trainer_core.discovery.registrar import Registrar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policy_constructor.discovery.component import ComponentRef

__all__ = ["implemented_hooks", "registered_refs", "start_hooks"]


def start_hooks(refs: Iterable[ComponentRef]) -> tuple[pluggy.PluginManager, list[str]]:
    """Return a manager with the plugins registered, and what is wrong with those left out.

    pluggy calls the plugin that registered last first; they are registered in reverse, so that
    hooks run in the order of the distributions' names on every rank.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    problems = []
    for ref in sorted(refs, key=attrgetter("dist", "key"), reverse=True):
        plugin = None
        try:
            plugin = _load(ref)
            manager.register(plugin, name=_name(ref))
            manager.check_pending()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's module
            if plugin is not None and manager.is_registered(plugin):
                manager.unregister(plugin)
            reason = f"{type(error).__name__}: {error}"
            problems.append(
                f"hook plugin {ref.key!r} of {ref.wheel} ({ref.target}) is not used: {reason}"
            )
    return manager, problems


def registered_refs(
    manager: pluggy.PluginManager, refs: Iterable[ComponentRef], problems: list[str]
) -> list[ComponentRef]:
    """Return the references that `trainer_register_components` of each plugin adds."""
    found: list[ComponentRef] = []
    for ref in sorted(refs, key=attrgetter("dist", "key")):
        plugin = manager.get_plugin(_name(ref))
        others = [other for other in manager.get_plugins() if other is not plugin]
        if plugin is None:
            continue
        registrar = Registrar(ref.dist, ref.version)
        caller = manager.subset_hook_caller("trainer_register_components", others)
        try:
            caller(registrar=registrar)
        except Exception as error:  # noqa: BLE001 - a stranger's code
            problems.append(
                f"hook plugin {ref.key!r} of {ref.wheel} failed to register components: "
                f"{type(error).__name__}: {error}"
            )
        found += registrar.refs
    return found


def implemented_hooks(plugin: Any) -> tuple[str, ...]:
    """Return the names of the hooks that a plugin implements.

    Raises:
        pluggy.PluginValidationError: It implements a hook that does not exist, or asks for an
            argument that a hook does not have.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin)
    manager.check_pending()
    return tuple(sorted(caller.name for caller in manager.get_hookcallers(plugin) or ()))


def _name(ref: ComponentRef) -> str:
    return f"{ref.dist}::{ref.key}"


def _load(ref: ComponentRef) -> Any:
    found: Any = import_module(ref.module)
    for name in ref.attr.split(".") if ref.attr else ():
        found = getattr(found, name)
    return found
