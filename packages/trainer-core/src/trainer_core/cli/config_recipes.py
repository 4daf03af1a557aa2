"""`trainer config recipes`: the experiment files that installed wheels bring."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from trainer_core.cli.plugins_table import table
from trainer_core.discovery.plugins import discover
from trainer_core.discovery.recipes import list_recipes

if TYPE_CHECKING:
    from trainer_core.discovery.recipes import Recipe

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """List the recipes; each can be run, checked, shown, and named under `defaults:`."""
    parser = argparse.ArgumentParser(
        prog="trainer config recipes",
        description="List the experiment files that installed wheels bring. "
        "'trainer run NAME' runs one; 'defaults: [NAME]' builds upon one.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    options = parser.parse_args(argv)
    plugins = discover()
    recipes = list_recipes(plugins.usable(plugins.recipes, "conflict"))
    if options.json:
        import json

        print(json.dumps({"schema": 1, "recipes": [_record(each) for each in recipes]}, indent=1))
    else:
        rows = [(each.name, f"{each.dist} {each.version}", each.description) for each in recipes]
        print(table(("recipe", "wheel", "description"), rows))
    return 0


def _record(recipe: Recipe) -> dict[str, str]:
    return {**recipe._asdict(), "path": str(recipe.path)}
