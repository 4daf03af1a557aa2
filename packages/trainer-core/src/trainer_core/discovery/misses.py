"""What to say of a name that no component has, or one of another kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_constructor.discovery.errors import RegistryError
from policy_constructor.spelling import nearest
from trainer_core.discovery.names import an, install_hint, near_install_hint, noun
from trainer_core.discovery.stale import stale_hint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer_core.discovery.plugins import Plugins

__all__ = ["unknown_name", "wrong_kind"]


def unknown_name(plugins: Plugins, name: str, kinds: Sequence[str]) -> RegistryError:
    """Return the error for a name that no component of some kinds has."""
    bare = name.rpartition("::")[2]
    invalid = _invalid(plugins, name, kinds)
    if invalid:
        return RegistryError(invalid, kind=kinds[0], key=name)
    elsewhere = _of_other_wheels(plugins, name, kinds)
    others = [
        kind
        for kind, registry in plugins.registries.items()
        if kind not in kinds and (bare in registry.keys())  # noqa: SIM118 - not its families
    ]
    if others and not elsewhere:
        return wrong_kind(plugins, name, others[0], kinds)
    if "loss" in kinds and bare in plugins.registries["block"].known_names():
        message = (
            f"{name!r} is a block, not a loss; a loss is {{_type_: torch, fn: {{_type_: {name}}}}}"
        )
        return RegistryError(message, kind="loss", key=name)
    message = f"unknown {noun(kinds[0])} {name!r}"
    hint = install_hint(bare, kinds) or stale_hint(bare, kinds, plugins.entry_points)
    if hint and not elsewhere:
        return RegistryError(f"{message}; {hint}", kind=kinds[0], key=name)
    known = [key for kind in kinds for key in plugins.registries[kind].known_names()]
    hint = "" if elsewhere else near_install_hint(bare, kinds, known)
    if hint:
        return RegistryError(f"{message}; {hint}", kind=kinds[0], key=name)
    near = elsewhere or nearest(name, known)
    return RegistryError(message, kind=kinds[0], key=name, suggestions=near)


def wrong_kind(plugins: Plugins, name: str, found: str, wanted: Sequence[str]) -> RegistryError:
    """Return the error for the name of a component whose kind its position does not take."""
    message = f"{name!r} is {an(noun(found))}, not {an(noun(wanted[0]))}"
    bare = name.rpartition("::")[2].removeprefix(f"{found}.")
    return RegistryError(
        message, kind=wanted[0], key=name, suggestions=_near(plugins, bare, wanted)
    )


def _of_other_wheels(plugins: Plugins, name: str, kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the qualified names of a key that the named wheel does not bring."""
    dist, _, bare = name.rpartition("::")
    refs = [ref for kind in kinds for ref in plugins.registries[kind].refs() if ref.key == bare]
    return tuple(f"{ref.dist}::{bare}" for ref in refs) if dist else ()


def _invalid(plugins: Plugins, name: str, kinds: Sequence[str]) -> str:
    """Return why what a wheel declares under a name cannot be used; empty if none does."""
    dist, _, bare = name.rpartition("::")
    for kind in kinds:
        for ref in plugins.registries[kind].refs():
            if ref.key == bare and dist in {"", ref.dist} and not ref.shadowed:
                reason = ref.problem or f"{ref.target!r} is a module, not 'module:attribute'"
                return f"{noun(kind)} {bare!r} of {ref.wheel} cannot be used: {reason}"
    return ""


def _near(plugins: Plugins, name: str, kinds: Sequence[str]) -> tuple[str, ...]:
    known = [key for kind in kinds for key in plugins.registries[kind].known_names()]
    return nearest(name, known)
