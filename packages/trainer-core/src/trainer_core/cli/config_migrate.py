"""`trainer config migrate`: an experiment file of an earlier generation, turned into ours."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trainer_core.discovery.plugins import discover
from trainer_core.errors import UserError
from trainer_core.experiment.loading import load_experiment
from trainer_core.experiment.migration.migrate import Migrated, migrate
from trainer_core.storage import write_atomically

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Print the new file or write it, and say on stderr what was not carried over."""
    parser = argparse.ArgumentParser(
        prog="trainer config migrate",
        description="Turn an experiment file of an earlier generation into one of ours.",
    )
    parser.add_argument("old", metavar="OLD", help="the file to read; it is left as it is")
    parser.add_argument("--output", metavar="NEW", help="write to this file instead of stdout")
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised")
    options = parser.parse_args(argv)
    old = Path(options.old)
    new = Path(options.output) if options.output is not None else None
    if new is not None and new.exists():
        msg = f"{new} exists already; give another name or remove it"
        raise UserError(msg)
    folder = (new or old).absolute().parent
    if not folder.is_dir():
        msg = f"there is no folder {folder}"
        raise UserError(msg)
    migrated = migrate(old, folder, discover())
    if new is None:
        print(migrated.text, end="")
    else:
        write_atomically(new, migrated.text)
    for line in migrated.report.to_lines():
        print(line, file=sys.stderr)
    if new is not None:
        print(_summary(new, migrated))
    return 0


def _summary(new: Path, migrated: Migrated) -> str:
    lost = sum(finding.is_lost for finding in migrated.report.findings)
    parts = [f"{new}: written"]
    if lost:
        parts.append(f"{lost} {'value' if lost == 1 else 'values'} kept as comments")
    count = len(load_experiment(new, strict=False).problems)
    mistakes = "nothing to mend" if not count else f"{count} to mend"
    parts.append(f"'trainer check {new}' finds {mistakes}")
    return "; ".join(parts)
