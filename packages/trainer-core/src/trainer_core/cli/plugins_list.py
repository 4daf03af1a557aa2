"""`trainer plugins list`: what is installed, read from metadata; no plugin is imported."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from policy_constructor.discovery.metadata import normalize_name
from trainer_core.cli.plugins_table import table, terminal_width
from trainer_core.discovery.plugins import discover
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from trainer_core.discovery.listing import PluginRecord

__all__ = ["main"]

_HEADINGS = ("kind", "key", "dist", "version", "target", "status")


def main(argv: list[str]) -> int:
    """Print the installed components; the exit code is 0 whatever state they are in.

    Raises:
        UserError: There is no such kind of component.
    """
    parser = argparse.ArgumentParser(
        prog="trainer plugins list",
        description="List the components, recipes, commands and hooks that installed wheels bring.",
    )
    parser.add_argument("--kind", help="only this kind, such as loss")
    parser.add_argument("--dist", help="only this wheel, such as experiments-il")
    parser.add_argument(
        "--wheel", metavar="FILE", help="look into a wheel file before it is installed"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    options = parser.parse_args(argv)
    if options.kind is not None:
        _require_kind(options.kind)
    dist = normalize_name(options.dist) if options.dist else None
    rows = [
        row
        for row in _rows(options.wheel)
        if options.kind in {None, row.kind} and dist in {None, row.dist}
    ]
    if options.json:
        import json

        document = {"schema": 1, "plugins": [row._asdict() for row in rows]}
        print(json.dumps(document, indent=1))
    else:
        print(table(_HEADINGS, rows, width=terminal_width(), elastic="target"))
        unusable = sum(row.status != "ok" for row in rows)
        if unusable:
            note = "cannot be used as they are; 'trainer plugins check' says why"
            print(f"{unusable} of {len(rows)} {note}", file=sys.stderr)
    return 0


def _require_kind(kind: str) -> None:
    from trainer_core.discovery.names import COMPONENT_GROUPS, GROUPS

    known = [each for kinds in (*COMPONENT_GROUPS.values(), *GROUPS.values()) for each in kinds]
    if kind not in known:
        from policy_constructor.spelling import nearest

        near = nearest(kind, known)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        msg = f"there is no kind {kind!r}; {hint}"
        raise UserError(msg)


def _rows(wheel: str | None) -> list[PluginRecord]:
    if wheel is None:
        return discover().records()
    from trainer_core.discovery.wheel_files import list_wheel

    return list_wheel(wheel)
