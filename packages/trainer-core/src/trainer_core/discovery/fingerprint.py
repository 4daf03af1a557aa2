"""Which wheels a run was made with, so that it can be told when they are others."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from policy_constructor.discovery.editable import editable_source
from policy_constructor.discovery.metadata import direct_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from policy_constructor.discovery.metadata import EntryPointRecord
    from trainer_core.discovery.plugins import Plugins

__all__ = ["record_wheels", "wheel_differences"]


def record_wheels(plugins: Plugins, dists: Iterable[str]) -> dict[str, Any]:
    """Return what identifies some wheels, and a digest of it all, as JSON data.

    A wheel is identified by its version and its table of entry points; the folder or commit that it
    was installed from is recorded too.
    """
    tables: dict[str, list[EntryPointRecord]] = {dist: [] for dist in sorted(set(dists))}
    for record in plugins.entry_points:
        if record.dist in tables and not record.shadowed:
            tables[record.dist].append(record)
    wheels = {dist: _wheel(table) for dist, table in tables.items() if table}
    identity = [(dist, w["version"], w["entry_points"]) for dist, w in wheels.items()]
    return {"digest": _digest(identity), "wheels": wheels}


def wheel_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return how the wheels of two records differ, one clause for each that does."""
    old, new = before.get("wheels", {}), now.get("wheels", {})
    found = []
    for dist in sorted({*old, *new}):
        if dist not in new:
            found.append(f"{dist} {old[dist]['version']} is not used any more")
        elif dist not in old:
            found.append(f"{dist} {new[dist]['version']} is new")
        else:
            found += _changes(dist, old[dist], new[dist])
    return found


def _changes(dist: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    if old["version"] != new["version"]:
        return [f"{dist} {old['version']} is now {new['version']}"]
    if old["entry_points"] != new["entry_points"]:
        return [f"{dist} {new['version']} declares other entry points"]
    if old.get("commit") != new.get("commit"):
        return [f"{dist} {new['version']} is of another commit"]
    return []


def _wheel(table: list[EntryPointRecord]) -> dict[str, Any]:
    origin = direct_url(table[0].path) or {}
    return {
        "version": table[0].version,
        "entry_points": _digest(sorted((r.group, r.name, r.value) for r in table)),
        "editable": editable_source(table[0].path) or None,
        "commit": (origin.get("vcs_info") or {}).get("commit_id"),
    }


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()
