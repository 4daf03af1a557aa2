"""Command lines that mix options with a CONFIG and overrides in any order."""

from __future__ import annotations

import argparse

__all__ = ["config_parser"]

_OVERRIDES = """\
overrides:
  a.b=c          set a value; c is read as YAML (1e-4, true, [1, 2], "text")
  a.0.b=c        set a value inside a list
  ~a.b           remove a value
  +a.list=[x]    append to a list
"""


def config_parser(command: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with CONFIG, overrides and --traceback; use `parse_intermixed_args`."""
    parser = argparse.ArgumentParser(
        prog=f"trainer {command}",
        description=description,
        epilog=_OVERRIDES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "config", metavar="CONFIG", help="a file, or a recipe such as il/pick_place"
    )
    parser.add_argument("overrides", metavar="a.b=c", nargs="*", help="changed values")
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised")
    return parser
