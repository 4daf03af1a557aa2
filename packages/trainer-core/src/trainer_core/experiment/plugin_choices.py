"""The `plugins:` section against what is installed: choices that change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from policy_constructor.discovery.metadata import normalize_name
from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from policy_constructor.config import ResolvedConfig
    from policy_constructor.config.node import Node, Path
    from policy_constructor.errors import Problem
    from trainer_core.discovery.plugins import Plugins

__all__ = ["find_idle_choices", "find_idle_names"]


def find_idle_choices(resolved: ResolvedConfig, plugins: Plugins) -> Iterator[Problem]:
    """Return a warning for each name in `plugins:` that means nothing installed.

    They are no errors: a file may be shared by machines on which different wheels are installed.
    """
    disable = resolved.node("plugins", "disable")
    for index, item in disable.items() if disable is not None and disable.is_list else ():
        for name, near in find_idle_names([str(item.value)], plugins):
            yield _idle(resolved, ("plugins", "disable", index), name, near)
    for kind, names in _children(resolved.node("plugins", "prefer")):
        place: Path = ("plugins", "prefer", kind)
        if kind not in plugins.registries:
            message = f"{kind!r} is no kind of component"
            near = nearest(kind, plugins.registries)
            yield resolved.problem(place, message, on="key", code="no-effect", suggestions=near)
            continue
        for name, wheel in _children(names):
            if isinstance(wheel.value, str):
                yield from _preference(resolved, (*place, name), str(wheel.value), plugins)


def find_idle_names(
    names: Iterable[str], plugins: Plugins
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Return the names that no installed wheel or component has, with the nearest that exist."""
    wheels = sorted({record.dist for record in plugins.entry_points})
    for name in names:
        if not _is_installed(name, wheels, plugins):
            yield name, nearest(name, [*wheels, *_full_ids(plugins)])


def _preference(
    resolved: ResolvedConfig, place: Path, wheel: str, plugins: Plugins
) -> Iterator[Problem]:
    kind, name = str(place[2]), str(place[3])
    registry = plugins.registries[kind]
    if name not in registry:
        near = nearest(name, registry.known_names())
        yield _idle(resolved, place, f"{kind}.{name}", near, on="key")
    elif f"{wheel}::{name}" not in registry:
        bringing = [ref.dist for ref in registry.refs() if ref.key == name]
        yield resolved.problem(
            place,
            f"no installed wheel {wheel!r} brings {kind}.{name}",
            code="no-effect",
            expected=" or ".join(bringing),
            suggestions=nearest(wheel, bringing),
        )


def _idle(
    resolved: ResolvedConfig,
    place: Path,
    name: str,
    near: tuple[str, ...],
    on: Literal["value", "key"] = "value",
) -> Problem:
    message = f"nothing that is installed is called {name!r}"
    return resolved.problem(place, message, on=on, code="no-effect", suggestions=near)


def _is_installed(name: str, wheels: list[str], plugins: Plugins) -> bool:
    if "." not in name:
        return normalize_name(name) in wheels
    kind, _, key = name.partition(".")
    return name in _full_ids(plugins) or key in plugins.registries.get(kind, ())


def _full_ids(plugins: Plugins) -> list[str]:
    others = (*plugins.commands, *plugins.recipes, *plugins.hooks)
    components = [ref for registry in plugins.registries.values() for ref in registry.refs()]
    return [ref.full_id for ref in (*components, *others)]


def _children(node: Node | None) -> list[tuple[str, Node]]:
    if node is None or not node.is_mapping:
        return []
    return [(str(key), child) for key, child in node.items()]
