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
    faults.sort(key=lambda fault: fault.level == "note")  # what needs nobody comes last
    errors = sum(fault.level == "error" for fault in faults)
    if options.json:
        import json
        from dataclasses import asdict

        document = {"schema": 1, "ok": not errors, "faults": [asdict(fault) for fault in faults]}
        print(json.dumps(document, indent=1))
    else:
        for fault in faults:
            print(fault)
        print(f"{root}: {_summary([fault.level for fault in faults])}")
    return 2 if errors else 0


def _summary(levels: list[str]) -> str:
    counted = {"fault": "error", "warning": "warning", "note": "note"}
    counts = {word: levels.count(level) for word, level in counted.items()}
    said = [f"{count} {word}{'s' if count > 1 else ''}" for word, count in counts.items() if count]
    is_well = not counts["fault"] and not counts["warning"]
    return ", ".join(["no faults found", *said] if is_well else said)
