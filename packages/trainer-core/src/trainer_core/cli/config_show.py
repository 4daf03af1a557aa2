"""`trainer config show`: the resolved file, and where each value comes from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from policy_constructor.config import describe_source, dotted, resolve_config, to_yaml
from policy_constructor.errors import render_problem
from trainer_core.cli.arguments import config_parser, parse_config_line
from trainer_core.discovery.plugins import discover
from trainer_core.discovery.recipes import find_config

if TYPE_CHECKING:
    from policy_constructor.config import Node, Path

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Print a file after includes, templates, references and overrides; it is not validated."""
    parser = config_parser("config show", "Print the resolved file.")
    parser.add_argument("--sources", action="store_true", help="say where each value comes from")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    options = parse_config_line(parser, argv)
    plugins = discover()
    path = find_config(options.config, plugins)
    resolved = resolve_config(
        path, options.overrides, find_recipe=plugins.find_recipe, strict=False
    )
    # Which keys belong to a section whatever its component is, `trainer check` knows.
    problems = [problem for problem in resolved.problems if problem.code != "left-over"]
    for problem in problems:
        print(render_problem(problem), file=sys.stderr)
    if options.json:
        import json

        document: dict[str, Any] = {"config": resolved.data}
        if options.sources:
            document["sources"] = _sources(resolved.root, ())
        print(json.dumps(document, indent=1))
    else:
        print(to_yaml(resolved, sources=options.sources), end="")
    return 2 if problems else 0


def _sources(node: Node, path: Path) -> dict[str, dict[str, Any]]:
    """Return, for each value that holds no others, where it comes from, by its dotted key."""
    if (node.is_mapping or node.is_list) and node.value:
        return {
            key: record
            for name, child in node.items()
            for key, record in _sources(child, (*path, name)).items()
        }
    place = node.mark.to_location() if node.mark is not None else None
    record = {
        "file": place.file if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "origin": describe_source(node),
    }
    return {dotted(path): record}
