"""Runs every small recipe of imitation learning to its end and says what came of it.

Each is a process of its own, `trainer run il/NAME`, in a folder of its own under `--work`; a recipe
that was interrupted goes on there. `--steps N` ends every run after N steps, with two episodes of
evaluation: whether all of them run, in a few minutes. The exit code is 1 if one did not complete.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import experiments_il.recipes

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(experiments_il.recipes.__file__).parent
NAMES = ("pick_place", "reach", *sorted(path.stem for path in FOLDER.glob("*_small.yaml")))
_SHORT_EPISODES = ["evaluation.episodes=2", "evaluation.max_steps=20"]
_LIMIT_S = 3 * 3600.0
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a recipe.

    Attributes:
        recipe: Its name.
        steps: Optimizer steps done.
        outcome: Success rate with its interval, another metric, or why it failed.
        minutes: Wall time of its run or runs.
        is_complete: Whether it came to its end.
    """

    recipe: str
    steps: int
    outcome: str
    minutes: float
    is_complete: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipes and print a row for each; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipes", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--steps", type=int, help="end every run after this many")
    parser.add_argument("--work", type=Path, default=Path("runs/recipes"), help="folder of runs")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.recipes if name not in NAMES]
    if unknown:
        parser.error(f"there is no small recipe '{unknown[0]}'; there are {', '.join(NAMES)}")
    print("| recipe | steps | success or metric | minutes |\n|---|---|---|---|")
    rows = [run(name, options.work, options.steps) for name in options.recipes or NAMES]
    return 0 if all(row.is_complete for row in rows) else 1


def run(name: str, work: Path, steps: int | None = None) -> Row:
    """Run a recipe in its own process, print its row and return it.

    Args:
        name: A recipe of `il/`.
        work: Folder of runs and demonstrations.
        steps: Steps after which it ends; None: its own number.
    """
    work.mkdir(parents=True, exist_ok=True)
    out = f"{name}-{steps}" if steps else name
    command = [sys.executable, "-m", "trainer_core", "run", f"il/{name}", f"run.out_dir={out}"]
    command += _shortened(name, steps) if steps else []
    try:
        ended = subprocess.run(
            command, cwd=work, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
        failure = ended.stderr.strip().splitlines()[:1] if ended.returncode else []
    except subprocess.TimeoutExpired:
        failure = [f"not done after {_LIMIT_S / 3600:.0f} hours"]
    row = _row(name, work / out / "summary.json", failure)
    print(
        f"| il/{row.recipe} | {row.steps} | {row.outcome} | {row.minutes:.1f} |",
        flush=True,
    )
    return row


def _shortened(name: str, steps: int) -> list[str]:
    """Return what makes a recipe's evaluation short, where it has one in a simulator."""
    from trainer_core.experiment.loading import load_experiment

    evaluation = load_experiment(f"il/{name}").config.evaluation
    component = {} if evaluation is None else evaluation.component
    known = [each for each in _SHORT_EPISODES if each.split(".")[1].split("=")[0] in component]
    return [f"trainer.max_steps={steps}", *known]


def _row(name: str, file: Path, failure: Sequence[str]) -> Row:
    """Return the row of a run that wrote its summary into `file`, or did not get that far."""
    summary: dict[str, Any] = json.loads(file.read_bytes()) if file.is_file() else {}
    is_complete = not failure and summary.get("status") == "completed"
    reason = (failure or [summary.get("error") or "no summary"])[0][:_SHOWN].replace("|", "/")
    return Row(
        name,
        int(summary.get("step", 0)),
        _outcome(summary) if is_complete else f"FAILED: {reason}",
        float(summary.get("wall_s", 0.0)) / 60,
        is_complete,
    )


def _outcome(summary: dict[str, Any]) -> str:
    """Return the success rate, else the numbers of the evaluation, else the loss."""
    evaluation = summary.get("evaluation") or {}
    if "success_rate" in evaluation:
        low, high = evaluation.get("ci95") or (float("nan"),) * 2
        share = f"{evaluation['success_rate']:.0%} of {evaluation['n']}"
        return f"{share} (95 % interval {low:.0%} to {high:.0%})"
    numbers = {key: value for key, value in evaluation.items() if isinstance(value, float)}
    shown = numbers or {"loss": summary["metrics"].get("loss", float("nan"))}
    return ", ".join(f"{key} {value:.3g}" for key, value in list(shown.items())[:3])


if __name__ == "__main__":
    sys.exit(main())
