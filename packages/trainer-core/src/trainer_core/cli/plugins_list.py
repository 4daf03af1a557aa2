"""`trainer plugins list`: what is installed, read from metadata; no plugin is imported."""

from __future__ import annotations

import argparse
import sys

from trainer_core.discovery.plugins import PluginRecord, discover

__all__ = ["main"]

_HEADINGS = ("kind", "key", "dist", "version", "target", "status")


def main(argv: list[str]) -> int:
    """Print the installed components; the exit code is 0 whatever state they are in."""
    parser = argparse.ArgumentParser(
        prog="trainer plugins list",
        description="List the components, recipes, commands and hooks that installed wheels bring.",
    )
    parser.add_argument("--kind", help="only this kind, such as loss")
    parser.add_argument("--dist", help="only this wheel, such as experiments-il")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    options = parser.parse_args(argv)
    rows = [
        row
        for row in discover().records()
        if options.kind in {None, row.kind} and options.dist in {None, row.dist}
    ]
    if options.json:
        import json

        document = {"schema": 1, "plugins": [row._asdict() for row in rows]}
        print(json.dumps(document, indent=1))
    else:
        print(_table(rows))
        unusable = sum(row.status != "ok" for row in rows)
        if unusable:
            print(f"{unusable} of {len(rows)} cannot be used as they are", file=sys.stderr)
    return 0


def _table(rows: list[PluginRecord]) -> str:
    lines = [_HEADINGS, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
