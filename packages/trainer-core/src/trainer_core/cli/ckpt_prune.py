"""`trainer ckpt prune`: deletes checkpoints that are neither new nor good; no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer_core.checkpoint.inventory import checkpoint_folders, problem_of
from trainer_core.checkpoint.layout import list_steps
from trainer_core.checkpoint.ranking import Goal, best_steps, read_best, values_of
from trainer_core.checkpoint.retention import prune
from trainer_core.cli.ckpt_common import ckpt_parser
from trainer_core.errors import UserError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Delete what no option keeps; the newest one that is whole always stays."""
    parser = ckpt_parser("prune", "Delete checkpoints. The newest that is whole always stays.")
    parser.add_argument("--keep-last", type=_count, default=1, metavar="N", help="newest to keep")
    parser.add_argument(
        "--keep-best", type=_count, metavar="K", help="best to keep; default: the one BEST names"
    )
    parser.add_argument("--monitor", metavar="NAME", help="best in this; default: as BEST says")
    parser.add_argument("--mode", choices=("min", "max"), default="min", help="with --monitor")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    options = parser.parse_args(argv)
    folders = checkpoint_folders(options.run)
    root = folders[0].parent
    if options.run == folders[0]:
        msg = f"{options.run} is one checkpoint; name its run"
        raise UserError(msg)
    kept = _kept_steps(root, options)
    verb = "would delete" if options.dry_run else "deleted"
    if options.dry_run:
        gone = [step for step, _ in list_steps(root) if step not in kept]
    else:
        gone = prune(root, keep_last=0, keep_steps=kept, keep_newest=False)
    steps = ", ".join(map(str, sorted(gone))) or "nothing"
    print(f"{verb}: {steps}; kept: {', '.join(map(str, sorted(kept)))}")
    return 0


def _kept_steps(root: Path, options: argparse.Namespace) -> set[int]:
    there = list_steps(root)
    newest_whole = next((step for step, path in there if not problem_of(path)), None)
    if newest_whole is None:
        msg = f"no checkpoint in {root} is whole; nothing is deleted"
        raise UserError(msg)
    kept = {newest_whole, *(step for step, _ in there[: options.keep_last])}
    best = read_best(root)
    if options.keep_best is None and options.monitor is None:
        kept |= set() if best is None else {best[0]} & {step for step, _ in there}
    elif options.keep_best != 0:
        goal = _goal(root, options)
        values = values_of(root, goal.monitor, [step for step, _ in there])
        kept |= set(best_steps(values, goal.mode)[: options.keep_best or 1])
    return kept


def _goal(root: Path, options: argparse.Namespace) -> Goal:
    if options.monitor is not None:
        return Goal(options.monitor, options.mode)
    best = read_best(root)
    if best is None:
        msg = f"{root} has no BEST; say what is best with --monitor val/loss --mode min"
        raise UserError(msg)
    return best[1]


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        msg = "must not be negative"
        raise ValueError(msg)
    return number
