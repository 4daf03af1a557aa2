"""`trainer data check`: everything that is wrong with a data set, before training finds it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experiments_il.commands.progress import counting_display

if TYPE_CHECKING:
    import argparse

__all__ = ["add_check"]


def add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `trainer data`."""
    check = commands.add_parser("check", help="list everything that is wrong with a data set")
    check.add_argument("root", metavar="DIR", type=Path, help="folder or file of any format")
    check.add_argument("--fps", type=float, help="frames per second, where the format has none")
    check.add_argument(
        "--no-decode", action="store_true", help="do not decode every image and video frame"
    )
    check.add_argument(
        "--keys", nargs="+", default=[], help="features that must be there, such as cameras"
    )
    check.add_argument("--json", action="store_true", help="one JSON document for machines")
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    from experiments_il.data.fault_finding import plan_checks

    root = options.root.expanduser()
    total, parts = plan_checks(
        root, fps=options.fps, decode=not options.no_decode, keys=options.keys
    )
    faults = []
    with counting_display(f"checking {root}", total, "parts") as progress:
        for done, found in enumerate(parts, start=1):
            faults += found
            progress(done)
    errors = sum(fault.level == "error" for fault in faults)
    if options.json:
        import json
        from dataclasses import asdict

        document = {"schema": 1, "ok": not errors, "faults": [asdict(fault) for fault in faults]}
        print(json.dumps(document, indent=1))
    else:
        for fault in faults:
            print(fault)
        print(f"{root}: {_summary(errors, len(faults) - errors)}")
    return 2 if errors else 0


def _summary(errors: int, warnings: int) -> str:
    counts = ((errors, "fault"), (warnings, "warning"))
    said = [f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count]
    return ", ".join(said) or "no faults found"
