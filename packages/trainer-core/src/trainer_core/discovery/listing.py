"""One line for each declaration of an installed wheel; nothing is imported for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from trainer_core.discovery.stale import find_stale

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy_constructor.discovery.component import ComponentRef
    from trainer_core.discovery.plugins import Plugins
    from trainer_core.discovery.stale import Staleness

__all__ = ["PluginRecord", "list_plugins"]


class PluginRecord(NamedTuple):
    """One line of `trainer plugins list`."""

    kind: str
    key: str
    dist: str
    version: str
    target: str
    status: str


def list_plugins(plugins: Plugins, *, trust_times: bool = True) -> list[PluginRecord]:
    """Return one record for each declaration, sorted; nothing is imported.

    What the source of an editable wheel declares and its installation does not know is listed too.

    Args:
        plugins: What is installed.
        trust_times: Look for stale entry points only where `pyproject.toml` is newer than the
            installation; the exact comparison costs a few milliseconds for each editable wheel.
    """
    stale = find_stale(plugins.entry_points, trust_times=trust_times)
    rows = [_row(ref, status, stale) for ref, status in _statuses(plugins)]
    for found in stale.values():
        rows += [PluginRecord(*ref[:2], *ref[4:6], ref.target, "stale") for ref in found.added]
    return sorted(rows)


def _statuses(plugins: Plugins) -> Iterator[tuple[ComponentRef, str]]:
    for registry in plugins.registries.values():
        for ref in registry.refs():
            yield ref, registry.status(ref)
        for family in registry.families:
            ref = family.to_ref(family.pattern)._replace(attr="")
            yield ref, plugins.status(ref)
    for ref in (*plugins.commands, *plugins.recipes, *plugins.hooks):
        yield ref, plugins.status(ref)


def _row(ref: ComponentRef, status: str, stale: dict[str, Staleness]) -> PluginRecord:
    found = None if ref.shadowed else stale.get(ref.dist)
    if found is not None and status in {"ok", "conflict"}:
        outdated = found.gone or (ref.kind, ref.key, ref.target) in found.removed
        status = "stale" if outdated else status
    return PluginRecord(ref.kind, ref.key, ref.dist, ref.version, ref.target, status)
