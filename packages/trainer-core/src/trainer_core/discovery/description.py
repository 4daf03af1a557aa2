"""What one component or wheel is, from metadata and source; nothing of it is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy_constructor.discovery.editable import editable_source
from policy_constructor.discovery.families import is_member
from policy_constructor.discovery.metadata import direct_url, normalize_name, read_headers
from policy_constructor.signatures.signature import read_signature
from policy_constructor.signatures.value_words import type_text
from policy_constructor.source.static import find_attribute, locate
from trainer_core.discovery.inspection import all_refs
from trainer_core.discovery.listing import list_plugins
from trainer_core.discovery.versions import requirement

if TYPE_CHECKING:
    from collections.abc import Collection

    from policy_constructor.discovery.component import ComponentRef
    from policy_constructor.signatures.parameters import Signature
    from trainer_core.discovery.plugins import Plugins

__all__ = ["describe_component", "describe_wheel", "find_components", "wheel_names"]

_CONTRACTS = ("trainer-core", "policy-constructor")


def wheel_names(plugins: Plugins) -> list[str]:
    """Return the names of the wheels that declare something."""
    return sorted({record.dist for record in plugins.entry_points})


def find_components(plugins: Plugins, name: str) -> list[ComponentRef]:
    """Return the declarations that a name may mean: `torch`, `loss.torch`, `wheel::loss.torch`.

    A member of a family, such as `nn.Linear`, is one of them.
    """
    wheel, _, bare = name.rpartition("::")
    found = [ref for ref in all_refs(plugins) if bare in {ref.key, ref.full_id}]
    for kind, registry in plugins.registries.items():
        key = bare.removeprefix(f"{kind}.")
        found += [family.to_ref(key) for family in registry.families if is_member(family, key)]
    return [ref for ref in found if not wheel or ref.dist == normalize_name(wheel)]


def describe_component(
    plugins: Plugins, ref: ComponentRef, supplied: Collection[str] = ()
) -> dict[str, Any]:
    """Return a component's provenance and parameters as JSON data.

    Args:
        plugins: What is installed.
        ref: The component.
        supplied: Parameters that the engine gives.
    """
    statuses = {
        (row.kind, row.key, row.dist, row.target): row.status for row in list_plugins(plugins)
    }
    signature = read_signature(ref)
    return {
        "kind": ref.kind,
        "key": ref.key,
        "dist": ref.dist,
        "version": ref.version,
        "target": ref.target,
        "status": statuses.get((ref.kind, ref.key, ref.dist, ref.target), plugins.status(ref)),
        "reason": ref.problem or plugins.reason(ref),
        "location": _location(ref),
        "installed": _provenance(ref.origin),
        "summary": signature.doc if signature is not None else "",
        "parameters": _parameters(signature, supplied) if signature is not None else None,
        "accepts_any_keyword": signature is not None and signature.accepts_any_keyword,
    }


def describe_wheel(plugins: Plugins, dist: str) -> dict[str, Any]:
    """Return a wheel's provenance and what it declares as JSON data."""
    records = [r for r in plugins.entry_points if r.dist == dist]
    first = next((r for r in records if not r.shadowed), records[0])
    headers = read_headers(first.path)
    rows = [row for row in list_plugins(plugins, trust_times=False) if row.dist == dist]
    return {
        "dist": dist,
        "version": first.version,
        "summary": (headers.get("summary") or [""])[0],
        "installed": _provenance(first.path),
        "plugins": [
            {"kind": row.kind, "key": row.key, "target": row.target, "status": row.status}
            for row in rows
        ],
    }


def _provenance(path: str) -> dict[str, Any]:
    """Return where a wheel is installed, from what, and for which versions of ours."""
    origin = direct_url(path) or {}
    ranges = {}
    for text in read_headers(path).get("requires-dist", []):
        name, wanted = requirement(text)
        if normalize_name(name) in _CONTRACTS:
            ranges[normalize_name(name)] = wanted
    return {
        "metadata": path,
        "editable": editable_source(path) or None,
        "commit": (origin.get("vcs_info") or {}).get("commit_id"),
        "requires": ranges,
    }


def _location(ref: ComponentRef) -> str:
    """Return `file:line` of the definition, or the module's file; empty if there is no source."""
    found = find_attribute(ref.module, ref.attr) if ref.attr else None
    path = locate(found.module if found is not None else ref.module)
    line = getattr(found.node, "lineno", None) if found is not None else None
    return f"{path}:{line}" if path and line else path or ""


def _parameters(signature: Signature, supplied: Collection[str]) -> list[dict[str, Any]]:
    return [
        {
            "name": parameter.name,
            "type": type_text(parameter.annotation),
            "required": parameter.required and parameter.name not in supplied,
            "default": parameter.default_source or None,
            "supplied": parameter.name in supplied,
            "doc": parameter.doc,
        }
        for parameter in signature.parameters.values()
    ]
