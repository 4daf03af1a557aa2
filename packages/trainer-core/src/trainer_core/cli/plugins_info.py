"""`trainer plugins info`: where a component or wheel comes from and what it takes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from policy_constructor.discovery.metadata import normalize_name
from trainer_core.cli.plugins_table import table
from trainer_core.discovery.description import (
    describe_component,
    describe_wheel,
    find_components,
    wheel_names,
)
from trainer_core.discovery.plugins import discover
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy_constructor.discovery.component import ComponentRef
    from trainer_core.discovery.plugins import Plugins
    from trainer_core.discovery.probing import Outcome

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Describe a component or a wheel; nothing is imported without `--import`."""
    parser = argparse.ArgumentParser(
        prog="trainer plugins info",
        description="Say where a component or a wheel comes from, and what its parameters are, "
        "read from metadata and source.",
    )
    parser.add_argument(
        "name", help="a component (loss.torch, nn.Linear, wheel::key) or a wheel (experiments-il)"
    )
    parser.add_argument(
        "--import",
        action="store_true",
        dest="do_import",
        help="also import it, in a process of its own",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    options = parser.parse_args(argv)
    plugins = discover()
    wheel = normalize_name(options.name)
    if wheel in wheel_names(plugins):
        refs = _declared_by(plugins, wheel)
        document: dict[str, Any] = {"schema": 1, "wheel": describe_wheel(plugins, wheel)}
    else:
        refs = find_components(plugins, options.name)
        if not refs:
            raise _unknown(plugins, options.name)
        components = [describe_component(plugins, ref, _supplied(ref)) for ref in refs]
        document = {"schema": 1, "components": components}
    if options.do_import:
        document["imports"] = _imports(refs)
    if options.json:
        import json

        print(json.dumps(document, indent=1))
    else:
        print("\n".join(_text(document)))
    return 0


def _declared_by(plugins: Plugins, wheel: str) -> list[ComponentRef]:
    from trainer_core.discovery.inspection import importable

    return [ref for ref in importable(plugins) if ref.dist == wheel]


def _supplied(ref: ComponentRef) -> frozenset[str]:
    from trainer_core.experiment.check import SUPPLIED

    return SUPPLIED.get(ref.kind, frozenset())


def _imports(refs: list[ComponentRef]) -> list[dict[str, Any]]:
    from trainer_core.discovery.probing import probe

    return [_import_record(outcome) for outcome in probe(refs, timeout_s=60.0)]


def _import_record(outcome: Outcome) -> dict[str, Any]:
    return {
        "component": outcome.ref.full_id,
        "status": outcome.status,
        "message": outcome.message,
        "seconds": round(outcome.seconds, 3),
        "heavy": list(outcome.heavy),
        "hooks": list(outcome.hooks),
    }


def _text(document: dict[str, Any]) -> Iterator[str]:
    if "wheel" in document:
        wheel = document["wheel"]
        yield f"{wheel['dist']} {wheel['version']}".rstrip()
        if wheel["summary"]:
            yield f"  {wheel['summary']}"
        yield from _installed(wheel["installed"])
        rows = [(p["kind"], p["key"], p["target"], p["status"]) for p in wheel["plugins"]]
        yield from _indented(table(("kind", "key", "target", "status"), rows))
    for number, component in enumerate(document.get("components", ())):
        if number:
            yield ""
        yield from _component(component)
    for found in document.get("imports", ()):
        brings = f", brings {', '.join(found['heavy'])}" if found["heavy"] else ""
        hooks = f", implements {', '.join(found['hooks'])}" if found["hooks"] else ""
        verdict = found["message"] or f"{found['status']} in {found['seconds']:.2f} s"
        yield f"  import {found['component']}: {verdict}{brings}{hooks}"


def _component(component: dict[str, Any]) -> Iterator[str]:
    yield f"{component['kind']}.{component['key']}"
    if component["summary"]:
        yield f"  {component['summary']}"
    yield f"  wheel      {component['dist']} {component['version']}".rstrip()
    yield f"  target     {component['target']}"
    reason = f": {component['reason']}" if component["reason"] else ""
    yield f"  status     {component['status']}{reason}"
    if component["location"]:
        yield f"  source     {component['location']}"
    yield from _installed(component["installed"])
    if component["parameters"] is None:
        if component["kind"] not in {"command", "hook", "recipe"}:
            yield "  its parameters cannot be read from source"
        return
    rows = [_parameter_row(p) for p in component["parameters"]]
    if component["accepts_any_keyword"]:
        rows.append(("**", "", "", "any further parameter"))
    if rows:
        yield from _indented(table(("parameter", "type", "default", ""), rows))


def _parameter_row(parameter: dict[str, Any]) -> tuple[str, str, str, str]:
    default = "required" if parameter["required"] else parameter["default"] or ""
    if parameter["supplied"]:
        default = "from the engine"
    return parameter["name"], parameter["type"], default, parameter["doc"]


def _installed(installed: dict[str, Any]) -> Iterator[str]:
    yield f"  metadata   {installed['metadata']}"
    if installed["editable"]:
        yield f"  editable   {installed['editable']}"
    if installed["commit"]:
        yield f"  commit     {installed['commit']}"
    for name, wanted in installed["requires"].items():
        yield f"  requires   {name}{wanted}"


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]


def _unknown(plugins: Plugins, name: str) -> UserError:
    from policy_constructor.spelling import did_you_mean, nearest

    known = [key for registry in plugins.registries.values() for key in registry.known_names()]
    near = nearest(name.rpartition("::")[2], [*known, *wheel_names(plugins)])
    msg = f"neither a component nor a wheel is called {name!r}{did_you_mean(near)}"
    return UserError(msg)
