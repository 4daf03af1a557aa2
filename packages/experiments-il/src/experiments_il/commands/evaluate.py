"""`trainer eval`: measure trained policies in a simulator; torch is imported when it works."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trainer_core.errors import Interrupted

if TYPE_CHECKING:
    from experiments_il.evaluation.comparison import PairedComparison
    from experiments_il.evaluation.playing import Played

__all__ = ["main"]

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_USAGE = "trainer eval POLICY [POLICY] [--env NAME:TASK] [key=value ...] [options]"
_EPILOG = """\
POLICY is the folder of a run (its newest checkpoint; RUN@best and RUN@STEP choose another one), of
a checkpoint, or one that trainer ckpt export wrote. Two of them play the same episodes, and are
compared.

overrides:
  max_steps=200          a parameter of the evaluator
  trainer.guidance=2.0   a parameter of the trainer that sampling or execution reads
"""
_OPTIONS = {
    "episodes": "evaluation.episodes",
    "seed": "evaluation.seed",
    "num_envs": "evaluation.num_envs",
    "videos": "evaluation.video_episodes",
    "steps": "trainer.num_inference_steps",
    "solver": "trainer.solver",
    "execution": "trainer.execution",
    "n_action_steps": "trainer.n_action_steps",
}
"""What an option changes; it is checked as an override is."""


def main(argv: list[str]) -> int:
    """Run `trainer eval ...`; return the exit code.

    Raises:
        TrainerError: What went wrong; the command line interface reports it.
        ConfigError: The evaluator or one of its parameters does not exist.
    """
    options = _parse(argv)
    from experiments_il.commands.evaluation_run import evaluate_all

    played, comparison = evaluate_all(options)
    is_partial = len(played) < len(options.policies) or any(each.is_partial for each in played)
    if options.json:
        _print_json(played, comparison, "interrupted" if is_partial else "completed")
    else:
        from experiments_il.commands.evaluation_report import print_comparison, print_played

        for each in played:
            print_played(each)
        if comparison is not None:
            print_comparison(comparison, options.policies)
    if is_partial:
        print("interrupted: the result is of the episodes played so far", file=sys.stderr)
    return Interrupted.exit_code if is_partial else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    """Return the options, with `policies` and `changes`."""
    parser = _parser()
    options, unknown = parser.parse_known_intermixed_args(argv)
    if unknown:
        bare = unknown[0].lstrip("-")
        hint = f"; a value is changed without dashes: {bare}" if "=" in bare else ""
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    changes = [word for word in options.words if _is_change(word)]
    options.policies = [word for word in options.words if not _is_change(word)]
    if not options.policies:
        parser.error("POLICY is missing: the folder of a run, a checkpoint or an exported policy")
    if len(options.policies) > 2:
        parser.error(f"{options.policies[2]!r} is one too many: give one policy, or two to compare")
    told = {name: getattr(options, name) for name in _OPTIONS}
    given = [f"{_OPTIONS[name]}={value}" for name, value in told.items() if value is not None]
    options.changes = [*changes, *given]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trainer eval",
        usage=_USAGE,
        description="Play a trained policy in a simulator, and say how often it succeeds.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("words", nargs="*", help=argparse.SUPPRESS)
    add("--env", metavar="NAME:TASK", help="evaluator and task (the run's evaluation: section)")
    add("--episodes", type=int, help="episodes to play")
    add("--seed", type=int, help="seed of the episodes")
    add("--num-envs", type=int, help="simulators played in lockstep, a batch for the policy")
    add("--videos", type=int, metavar="N", help="film the first N episodes")
    add("--steps", type=int, metavar="N", help="time steps of sampling a chunk")
    add("--solver", help="how a time step is integrated: euler, midpoint, heun or rk4")
    add("--execution", help="receding_horizon or temporal_ensembling")
    add("--n-action-steps", type=int, metavar="E", help="actions of a chunk that are executed")
    add("--checkpoint", default="newest", help="of a run: newest (default), best, or a step")
    add("--device", type=_device, default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    add("--out", type=Path, help="new folder of the results (RUN/evaluation/STEP-ENV)")
    add("--json", action="store_true", help="print one JSON document, for machines")
    add("--traceback", action="store_true", help="show where an error was raised")
    return parser


def _device(text: str) -> str:
    if not _DEVICE.fullmatch(text):
        message = f"{text!r} is no device: auto, cpu, cuda, cuda:N or mps"
        raise argparse.ArgumentTypeError(message)
    return text


def _is_change(word: str) -> bool:
    return word.startswith(("~", "+")) or ("=" in word and not Path(word).exists())


def _print_json(played: list[Played], comparison: PairedComparison | None, status: str) -> None:
    document = {
        "schema": 1,
        "status": status,
        "evaluations": [
            {
                "folder": str(each.folder),
                "settings": each.settings,
                "result": each.result,
                "episodes": each.episodes,
            }
            for each in played
        ],
        "comparison": None if comparison is None else comparison.to_json(),
    }
    print(json.dumps(document, indent=1))
