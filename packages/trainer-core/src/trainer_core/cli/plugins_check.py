"""`trainer plugins check`: imports every component in a process of its own and reports the rest."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from policy_constructor.discovery.metadata import normalize_name
from trainer_core.discovery.inspection import (
    Finding,
    broken_findings,
    importable,
    static_findings,
)
from trainer_core.discovery.plugins import discover
from trainer_core.discovery.probing import probe
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


_LONGEST_S = 86_400.0


def main(argv: list[str]) -> int:
    """Check the installed wheels; return 1 if something is wrong with one of them."""
    parser = argparse.ArgumentParser(
        prog="trainer plugins check",
        description="Import the components of the installed wheels, in processes of their own, "
        "and report what is broken, stale, orphaned, incompatible, conflicting or hidden.",
    )
    parser.add_argument("dist", nargs="?", help="only this wheel, such as experiments-il")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long the import of one component may take (default: 60)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    options = parser.parse_args(argv)
    plugins = discover()
    dist = normalize_name(options.dist) if options.dist else None
    known = sorted({record.dist for record in plugins.entry_points})
    if dist is not None and dist not in known:
        raise _unknown(options.dist, known)
    refs = [ref for ref in importable(plugins) if dist in {None, ref.dist}]
    static = [found for found in static_findings(plugins) if dist in {None, found.dist}]
    findings = sorted([*static, *broken_findings(probe(refs, options.timeout))])
    errors = sum(found.level == "error" for found in findings)
    if options.json:
        import json

        document = {
            "schema": 1,
            "ok": not errors,
            "imported": len(refs),
            "findings": [found._asdict() for found in findings],
        }
        print(json.dumps(document, indent=1))
    else:
        for found in findings:
            print(_text(found))
        wheels = len({ref.dist for ref in refs} | {found.dist for found in findings})
        print(_summary(len(refs), wheels, errors), file=sys.stderr if errors else sys.stdout)
    return 1 if errors else 0


def _text(found: Finding) -> str:
    wheel = f"{found.dist} {found.version}".rstrip()
    component = f"{found.kind}.{found.key}: " if found.key else ""
    return (
        f"{found.status:<13}{wheel}\n"
        f"  {component}{found.message}\n"
        f"  declared in {found.path}\n"
        f"  cure: {found.cure}"
    )


def _summary(imported: int, wheels: int, errors: int) -> str:
    verdict = _count(errors, "error") if errors else "all is well"
    return f"{_count(imported, 'component')} of {_count(wheels, 'wheel')}: {verdict}"


def _seconds(text: str) -> float:
    """Return a time that can pass.

    Raises:
        argparse.ArgumentTypeError: The text is none.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_S:
        msg = f"expected seconds, more than 0 and at most a day, found {text}"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def _count(number: int, noun: str) -> str:
    return f"{number} {noun if number == 1 else noun + 's'}"


def _unknown(dist: str, known: Sequence[str]) -> UserError:
    from policy_constructor.spelling import did_you_mean, nearest

    hint = did_you_mean(nearest(dist, known)) or f"; these do: {', '.join(known)}"
    return UserError(f"no installed wheel {dist!r} brings components{hint}")
