"""`trainer data`: record demonstrations; describe, show, check, convert and rank data sets."""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments_il.commands.check import add_check
from experiments_il.commands.convert import add_convert
from experiments_il.commands.info import add_info
from experiments_il.commands.record import add_record
from experiments_il.commands.stats import add_stats
from experiments_il.commands.view import add_view

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run `trainer data ...`; return the exit code.

    Raises:
        TrainerError: What went wrong; the command line interface reports it.
    """
    options = _parser().parse_args(argv)
    exit_code: int = options.run(options)
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trainer data", description="Make and inspect data sets.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    add_record(commands)

    add_info(commands)
    add_view(commands)
    add_check(commands)
    add_convert(commands)
    add_stats(commands)

    score = commands.add_parser("score", help="rank episodes by what they can teach")
    score.add_argument(
        "root", metavar="RUN", type=Path, help="run of mutual_information_estimator_trainer"
    )
    score.add_argument("--out", type=Path, help="file of the scores (RUN/scores.json)")
    score.add_argument("--keep", type=float, default=0.9, help="share of episodes to keep (0.9)")
    score.add_argument("--passes", type=int, default=4, help="shuffles of the frames (4)")
    score.add_argument("--seed", type=int, default=0, help="seed of the shuffles (0)")
    score.set_defaults(run=_score)
    return parser


def _score(options: argparse.Namespace) -> int:
    from experiments_il.commands.score import check_options, score_run, write_scores

    check_options(options.keep, options.passes)
    scores = score_run(options.root, passes=options.passes, seed=options.seed)
    out = options.out or options.root / "scores.json"
    kept = write_scores(scores, out, options.keep)
    print("episode   score   +-     frames")
    for each in scores:
        print(f"{each.episode:7d}  {each.score:6.3f}  {each.standard_error:5.3f}  {each.n:6d}")
    print(f"{out}: {len(kept)} of {len(scores)} episodes to keep")
    return 0
