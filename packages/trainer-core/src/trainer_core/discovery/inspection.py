"""What is wrong with the installed wheels, each with its cure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trainer_core.discovery.compatibility import find_mismatches
from trainer_core.discovery.stale import find_stale

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from policy_constructor.discovery.component import ComponentRef
    from trainer_core.discovery.plugins import Plugins
    from trainer_core.discovery.probing import Outcome
    from trainer_core.discovery.stale import Staleness

__all__ = ["Finding", "all_refs", "broken_findings", "importable", "static_findings"]


_METADATA_FILES = ("METADATA", "PKG-INFO")


class Finding(NamedTuple):
    """One thing that is wrong with a wheel, or that its user should know.

    Attributes:
        dist: The wheel.
        version: Its version.
        kind: Kind of the component; empty where it is about the whole wheel.
        key: Its key; empty where it is about the whole wheel.
        status: `broken`, `protocol`, `invalid`, `conflict`, `stale`, `orphaned`, `incompatible`,
            `metadata`, `shadowed` or `blocked`.
        level: `error`, or `note` for what is meant to be so.
        message: What is wrong.
        cure: What to do.
        path: Where the declaration lies.
    """

    dist: str
    version: str
    kind: str
    key: str
    status: str
    level: str
    message: str
    cure: str
    path: str


def all_refs(plugins: Plugins) -> list[ComponentRef]:
    """Return every declaration, families included, with an empty attribute for a module."""
    refs = [ref for registry in plugins.registries.values() for ref in registry.refs()]
    families = [f for registry in plugins.registries.values() for f in registry.families]
    refs += [family.to_ref(family.pattern)._replace(attr="") for family in families]
    return [*refs, *plugins.commands, *plugins.recipes, *plugins.hooks]


def importable(plugins: Plugins) -> list[ComponentRef]:
    """Return the declarations worth importing: not malformed, hidden, blocked or orphaned."""
    stale = find_stale(plugins.entry_points)
    orphans = {dist for dist, found in stale.items() if found.gone}
    return [
        ref
        for ref in all_refs(plugins)
        if not (ref.problem or ref.shadowed or plugins.reason(ref) or ref.dist in orphans)
        and ref.kind != "recipe"
    ]


def static_findings(plugins: Plugins) -> list[Finding]:
    """Return what can be told without importing anything, sorted by wheel."""
    findings = [
        *_of_declarations(plugins),
        *_of_conflicts(plugins),
        *_of_metadata(plugins),
        *_of_versions(plugins),
    ]
    versions = _versions(plugins)
    for dist, found in find_stale(plugins.entry_points).items():
        findings.append(_of_source(*versions[dist], found))
    return sorted(set(findings))


def broken_findings(outcomes: Iterable[Outcome]) -> list[Finding]:
    """Return what the import of components brought to light."""
    return [
        _about(
            outcome.ref,
            outcome.status,
            f"{outcome.ref.target}: {outcome.message}",
            f"mend or upgrade it: pip install --upgrade '{outcome.ref.dist}'; "
            f"or switch it off: TRAINER_DISABLE_PLUGINS={outcome.ref.dist}",
        )
        for outcome in outcomes
        if outcome.status != "ok"
    ]


def _of_declarations(plugins: Plugins) -> Iterator[Finding]:
    for ref in all_refs(plugins):
        if ref.problem is not None:
            cure = f"its author must mend entry_points.txt; until then: pip uninstall {ref.dist}"
            yield _about(ref, "invalid", ref.problem, cure)
        elif ref.shadowed:
            message = f"another copy of {ref.dist} hides this one"
            cure = f"run 'pip uninstall {ref.dist}' until none is left, then install it once"
            yield _about(ref._replace(kind="", key=""), "shadowed", message, cure)
        elif ref.kind == "command" and plugins.status(ref) == "shadowed":
            message = f"'trainer {ref.key}' is a command of trainer-core, which hides this one"
            cure = "its author must give it another name"
            yield _about(ref, "shadowed", message, cure)
        elif plugins.status(ref) == "blocked":
            message = f"it is switched off: {plugins.reason(ref)}"
            cure = "nothing, if that is meant to be so"
            yield _about(ref, "blocked", message, cure, level="note")


def _of_conflicts(plugins: Plugins) -> Iterator[Finding]:
    claims: dict[tuple[str, str], list[ComponentRef]] = {}
    for ref in all_refs(plugins):
        if not (ref.problem or ref.shadowed or plugins.reason(ref) or ref.kind == "hook"):
            claims.setdefault((ref.kind, ref.key), []).append(ref)
    for (kind, key), refs in claims.items():
        if len({ref.dist for ref in refs}) == 1:
            continue
        for ref in refs:
            others = [other for other in refs if other.dist != ref.dist]
            names = " and ".join(f"{other.wheel} ({other.target})" for other in others)
            cure = f"write '{ref.dist}::{key}'"
            if kind not in {"command", "recipe"}:
                cure += f", or set plugins.prefer: {{{kind}: {{{key}: {ref.dist}}}}}"
            yield _about(ref, "conflict", f"{kind} {key!r} is also provided by {names}", cure)


def _of_metadata(plugins: Plugins) -> Iterator[Finding]:
    for record in plugins.entry_points:
        folder = Path(record.path)
        if folder.is_dir() and not any((folder / name).is_file() for name in _METADATA_FILES):
            yield Finding(
                record.dist,
                record.version,
                "",
                "",
                "metadata",
                "error",
                "its METADATA file is missing, as after a failed uninstallation",
                f"pip install --force-reinstall --no-deps '{record.dist}', or remove {record.path}",
                record.path,
            )


def _of_versions(plugins: Plugins) -> Iterator[Finding]:
    versions = _versions(plugins)
    for dist, mismatch in find_mismatches(plugins.entry_points).items():
        _, version, path = versions[dist]
        cure = (
            f"install a version of {dist} for {mismatch.running}, or: pip install '{mismatch[0]}'"
        )
        yield Finding(dist, version, "", "", "incompatible", "error", str(mismatch), cure, path)


def _of_source(dist: str, version: str, path: str, found: Staleness) -> Finding:
    if found.gone:
        message = f"it was installed from {found.source}, which is gone"
        cure = f"pip uninstall {dist}"
        return Finding(dist, version, "", "", "orphaned", "error", message, cure, path)
    parts = []
    if found.added:
        parts.append(f"new: {', '.join(sorted(ref.full_id for ref in found.added))}")
    if found.removed:
        removed = sorted(f"{kind}.{key}" for kind, key, _ in found.removed)
        parts.append(f"changed or removed: {', '.join(removed)}")
    if found.version:
        parts.append(f"version {found.version}")
    message = f"its source is newer than its installation ({'; '.join(parts)})"
    return Finding(dist, version, "", "", "stale", "error", message, found.cure, path)


def _versions(plugins: Plugins) -> dict[str, tuple[str, str, str]]:
    """Return (name, version, metadata folder) of each wheel that is not hidden, by name."""
    return {r.dist: (r.dist, r.version, r.path) for r in plugins.entry_points if not r.shadowed}


def _about(
    ref: ComponentRef, status: str, message: str, cure: str, level: str = "error"
) -> Finding:
    return Finding(
        ref.dist, ref.version, ref.kind, ref.key, status, level, message, cure, ref.origin
    )
