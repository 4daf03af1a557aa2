"""Command lines that mix options with a CONFIG and overrides in any order."""

from __future__ import annotations

import argparse

from trainer_core.cli.plugins_switches import add_switches, apply_switches

__all__ = ["config_parser", "parse_config_line"]

_OVERRIDES = """\
overrides:
  a.b=c          set a value; c is read as YAML (1e-4, true, [1, 2], "text")
  a.0.b=c        set a value inside a list
  ~a.b           remove a value
  +a.list=[x]    append to a list
  a.b=@file      take a value from a YAML file, or the text of any other
"""


def config_parser(command: str, description: str) -> argparse.ArgumentParser:
    """Return a parser of a command that takes CONFIG and overrides; use `parse_config_line`."""
    parser = argparse.ArgumentParser(
        prog=f"trainer {command}",
        usage=f"trainer {command} CONFIG [a.b=c ...] [options]",
        description=f"{description} CONFIG is a file, or a recipe such as il/pick_place.",
        epilog=_OVERRIDES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised")
    add_switches(parser)
    return parser


def parse_config_line(
    parser: argparse.ArgumentParser, argv: list[str], *, key: str = ""
) -> argparse.Namespace:
    """Parse options, overrides and CONFIG in any order; sets `config` and `overrides`.

    Args:
        parser: What `config_parser` returned, with further options.
        argv: The command line.
        key: What else must be named behind CONFIG; sets `key`.
    """
    options, unknown = parser.parse_known_intermixed_args(argv)
    if unknown:
        bare = unknown[0].lstrip("-")
        hint = f"; a value is changed without dashes: {bare}" if "=" in bare else ""
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    apply_switches(options)
    swept = getattr(options, "sweep", None) or []
    options.words += [word for word in swept if "=" not in word]  # CONFIG may stand behind it
    overrides = [word for word in options.words if _is_override(word)]
    others = [word for word in options.words if not _is_override(word)]
    if not others:
        parser.error("CONFIG is missing: a file, or a recipe such as il/pick_place")
    if key and len(others) == 1:
        parser.error(f"KEY is missing: {key}")
    if len(others) > 1 + bool(key):
        parser.error(f"{others[-1]!r} is no override; write key=value")
    options.config, options.key = others[0], others[-1]
    if swept:
        options.sweep = [word for word in swept if word not in options.words]
    options.overrides = overrides
    return options


def _is_override(word: str) -> bool:
    return word.startswith(("~", "+")) or "=" in word
