"""`trainer run`: trains as the file says; torch is imported when the run starts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from trainer_core.cli.arguments import config_parser
from trainer_core.run import EXIT_CODES, run

if TYPE_CHECKING:
    from trainer_core.loop import RunResult

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run an experiment; return the exit code of its status."""
    parser = config_parser("run", "Train as the file says, or go on where the last run stopped.")
    parser.add_argument("--runner", help="use this runner in place of the file's, such as ddp")
    parser.add_argument(
        "--resume", metavar="auto|none|STEP|PATH", help="which checkpoint to start from"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything and stop before the first step"
    )
    options = parser.parse_intermixed_args(argv)
    result = run(
        options.config,
        options.overrides,
        runner=options.runner,
        resume=options.resume,
        dry_run=options.dry_run,
    )
    print(_summary(result), file=sys.stderr)
    return EXIT_CODES.get(result.status, 0)


def _summary(result: RunResult) -> str:
    return f"{result.status} after {result.step} steps; see {result.out_dir}"
