"""Editable installs whose entry points are older than their source, or whose source is gone."""

# pathlib costs more than the comparison, and listing may need it for every editable wheel.
# ruff: noqa: PTH112, PTH116, PTH123

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from policy_constructor.discovery.component import ComponentRef, refs_by_kind
from policy_constructor.discovery.editable import editable_source
from policy_constructor.discovery.metadata import GROUP_PREFIXES, EntryPointRecord
from trainer_core.discovery.names import COMPONENT_GROUPS, GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from policy_constructor.discovery.component import Family

__all__ = ["Staleness", "find_stale", "stale_hint"]

_ALL_GROUPS = {**COMPONENT_GROUPS, **GROUPS}


class Staleness(NamedTuple):
    """How an editable install differs from its source.

    Attributes:
        source: The folder it was installed from.
        gone: Whether that folder is no longer there.
        removed: (kind, key, target) that the source does not declare any more.
        added: What the source declares and the installation does not know.
        version: The version in the source, if it is another one; else empty.
    """

    source: str
    gone: bool = False
    removed: frozenset[tuple[str, str, str]] = frozenset()
    added: tuple[ComponentRef, ...] = ()
    version: str = ""

    @property
    def cure(self) -> str:
        """The command that brings the installation up to date."""
        return f"pip install --no-deps -e '{self.source}'"


def stale_hint(key: str, kinds: Sequence[str], records: Iterable[EntryPointRecord]) -> str:
    """Return how to install a component that only the source of an editable wheel declares.

    An editable install follows the code, not the entry points: a key that was added to
    `pyproject.toml` since is not found. Empty if no wheel's source declares the key.
    """
    for dist, found in find_stale(records).items():
        if any(ref.key == key and ref.kind in kinds for ref in found.added):
            return f"the source of {dist} declares it, its installation is older: {found.cure}"
    return ""


def find_stale(
    records: Iterable[EntryPointRecord], *, trust_times: bool = False
) -> dict[str, Staleness]:
    """Return the editable wheels that differ from their source, by name.

    Args:
        records: What `metadata.scan` returned.
        trust_times: Skip sources whose `pyproject.toml` is older than the installation.
    """
    by_place: dict[tuple[str, str], list[EntryPointRecord]] = {}
    for record in records:
        if not record.shadowed:
            by_place.setdefault((record.dist, record.path), []).append(record)
    found = {
        dist: _compare(path, installed, trust_times) for (dist, path), installed in by_place.items()
    }
    return {dist: staleness for dist, staleness in found.items() if staleness is not None}


def _compare(path: str, installed: list[EntryPointRecord], trust_times: bool) -> Staleness | None:
    source = editable_source(path)
    if not source:
        return None
    if not os.path.isdir(source):
        return Staleness(source, gone=True)
    if trust_times and not _is_newer(f"{source}/pyproject.toml", f"{path}/entry_points.txt"):
        return None
    project = _project(source)
    if project is None:
        return None
    version = str(project.get("version", ""))
    version = "" if version == installed[0].version else version
    declared = _declared(project, installed[0])
    before = {_identity(each) for each in _all_refs(installed)}
    after = {_identity(each) for each in declared}
    added = tuple(each for each in declared if _identity(each) not in before)
    if before == after and not version:
        return None
    return Staleness(source, removed=frozenset(before - after), added=added, version=version)


def _is_newer(file: str, than: str) -> bool:
    try:
        return os.stat(file).st_mtime_ns > os.stat(than).st_mtime_ns
    except OSError:
        return True


def _project(source: str) -> dict[str, Any] | None:
    """Return the `[project]` table; None where it does not state the entry points."""
    file = f"{source}/pyproject.toml"
    try:
        return _table(file, os.stat(file).st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=64)
def _table(name: str, _mtime_ns: int) -> dict[str, Any] | None:
    import tomllib  # noqa: PLC0415 - only editable installs need it

    try:
        with open(name, "rb") as file:
            project = tomllib.load(file).get("project")
    except (OSError, tomllib.TOMLDecodeError):
        return None
    if not isinstance(project, dict) or "entry-points" in project.get("dynamic", ()):
        return None
    return project


def _declared(project: dict[str, Any], like: EntryPointRecord) -> list[ComponentRef]:
    tables = project.get("entry-points", {})
    records = [
        EntryPointRecord(
            group, name, str(value).replace(" ", ""), like.dist, like.version, like.path
        )
        for group, table in tables.items()
        if group.startswith(GROUP_PREFIXES)
        for name, value in table.items()
    ]
    return _all_refs(records)


def _all_refs(records: Iterable[EntryPointRecord]) -> list[ComponentRef]:
    refs, families = refs_by_kind([r for r in records if r.problem is None], _ALL_GROUPS)
    return [*refs, *map(_as_ref, families)]


def _as_ref(family: Family) -> ComponentRef:
    return ComponentRef(family.kind, family.pattern, family.module, "", family.dist, family.version)


def _identity(ref: ComponentRef) -> tuple[str, str, str]:
    return ref.kind, ref.key, ref.target
