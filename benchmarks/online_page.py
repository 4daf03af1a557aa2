"""The page of `benchmarks.online`: success before and after, with intervals, and a verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from benchmarks.metaworld import sign_test

from experiments_il.sim.statistics import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["difference_interval", "to_page"]

GOAL = 0.1

_ABOUT = """# Learning online: a peg into a hole

Written by `OMP_NUM_THREADS=1 python -m benchmarks.online`; raw rows in [online.json](online.json).

- The recipe `il/peg_insert_online`: 50 demonstrations by Meta-World's script, with noise of {noise}
  on the executed actions; {offline} steps on these alone, then up to {steps} on both. The runner:
  {options}.
- Against it: the same file with `--runner local`, {steps} steps on the demonstrations alone.
  Training seeds {seeds}.
- What was tuned: the share, the longest episode and the number of workers of the rollouts, by four
  trainings of the seeds 0 and 1 and their success on the first half of these goals.
- {goals} goals a training, none of them demonstrated or played by a rollout, at most 300 steps
  each. The averaged weights play.
- Intervals: Wilson, 95 %; of a difference: Newcombe's, from both. They treat all episodes as
  independent.
- Two cores of a machine that other work shared. The learner and the rollout workers run at the same
  time, so how many episodes there are in a training depends on the machine, and an online training
  cannot be repeated bit for bit. torch {torch}; commit {commits}.
"""


def to_page(rows: Sequence[Mapping[str, Any]], script: Sequence[int | None]) -> str:
    """Return the page of these rows, as `benchmarks.online.Row` has them.

    Args:
        rows: Trainings.
        script: For each goal, how many steps the script that demonstrated takes; None: it fails.
    """
    first = rows[0]
    options: Mapping[str, Any] = next((row["options"] for row in rows if row["options"]), {})
    about = _ABOUT.format(
        options=", ".join(f"`{key}: {value}`" for key, value in options.items()) or "-",
        noise=first["noise"],
        offline=first["offline_steps"],
        steps=first["steps"],
        goals=len(script),
        seeds=", ".join(str(seed) for seed in sorted({row["seed"] for row in rows})),
        torch=first["torch"],
        commits=", ".join(sorted({row["commit"] for row in rows})),
    )
    parts = [about, "## Success\n", _success(rows), _verdict(rows)]
    parts += ["## What is left\n", _rest(rows, script), "## On the way\n", _curve(rows)]
    return "\n".join([*parts, "## Each training\n", _trainings(rows)])


def difference_interval(solved: int, n: int, others: int, m: int) -> tuple[float, float]:
    """Return the interval of `solved / n - others / m` by Newcombe's hybrid of Wilson's.

    Source: Newcombe, Interval estimation for the difference between independent proportions, 1998,
    method 10.
    """
    p, q = solved / n, others / m
    low, high = wilson_interval(solved, n)
    other_low, other_high = wilson_interval(others, m)
    below = math.hypot(p - low, other_high - q)
    above = math.hypot(high - p, q - other_low)
    return p - q - below, p - q + above


def _success(rows: Sequence[Mapping[str, Any]]) -> str:
    first, last = str(rows[0]["offline_steps"]), str(rows[0]["steps"])
    header = ["seed", f"before, {first} steps", f"demonstrations alone, {last} steps"]
    lines = [_line([*header, f"online, {last} steps"]), _line(["---"] * 4)]
    for seed in sorted({row["seed"] for row in rows}):
        own = [row for row in rows if row["seed"] == seed]
        lines.append(_line([str(seed), *_cells(own, first, last)]))
    lines.append(_line(["all", *_cells(rows, first, last)]))
    return "\n".join(lines) + "\n"


def _cells(rows: Sequence[Mapping[str, Any]], first: str, last: str) -> list[str]:
    columns = [("local", first), ("local", last), ("ray_online", last)]
    return [_rate(_pooled(rows, runner, step)) for runner, step in columns]


def _pooled(rows: Sequence[Mapping[str, Any]], runner: str, step: str) -> list[bool]:
    """Return whether each goal was solved by the trainings of a runner, by seed."""
    chosen = sorted((row for row in rows if row["runner"] == runner), key=lambda row: row["seed"])
    return [each for row in chosen for each in row["solved"][step]]


def _verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    last = str(rows[0]["steps"])
    seeds = [{row["seed"] for row in rows if row["runner"] == name} for name in _RUNNERS]
    both = [row for row in rows if row["seed"] in seeds[0] & seeds[1]]
    alone, online = (_pooled(both, name, last) for name in _RUNNERS)
    if not online:
        return "Not measured yet.\n"
    gain = (sum(online) - sum(alone)) / len(online)
    low, high = difference_interval(sum(online), len(online), sum(alone), len(alone))
    better = sum(ours and not theirs for ours, theirs in zip(online, alone, strict=True))
    worse = sum(theirs and not ours for ours, theirs in zip(online, alone, strict=True))
    is_met = "Met" if gain >= GOAL else "Missed"
    return (
        f"Goal: at least {100 * GOAL:.0f} points better than the demonstrations alone at equal "
        f"gradient steps. {is_met}: {100 * gain:+.0f} points ({100 * low:+.0f} to "
        f"{100 * high:+.0f}).\n\nOf {len(online)} pairs of the same seed and goal, {better} are "
        f"solved online alone and {worse} from the demonstrations alone: p = "
        f"{sign_test(better, worse):.2g} (exact sign test, two-sided).\n"
    )


def _rest(rows: Sequence[Mapping[str, Any]], script: Sequence[int | None]) -> str:
    """Return which goals the online trainings miss, beside what the script does on these."""
    options: Mapping[str, Any] = next((row["options"] for row in rows if row["options"]), {})
    longest = options.get("rollout", {}).get("max_steps", math.inf)
    last = str(rows[0]["steps"])
    online = [row["solved"][last] for row in rows if row["runner"] == "ray_online"]
    missed = [goal for solved in online for goal, is_solved in enumerate(solved) if not is_solved]
    beyond = sum(script[goal] is None for goal in missed)
    slow = sum((script[goal] or 0) > longest for goal in missed)
    return (
        f"The script that gave the demonstrations solves {_rate([n is not None for n in script])} "
        f"of these goals itself. Of the {len(missed)} failures of the online trainings, {beyond} "
        f"are on goals where it fails, and {slow} on goals that take it longer than a rollout may "
        f"last ({longest} steps).\n"
    )


_RUNNERS = ("local", "ray_online")


def _curve(rows: Sequence[Mapping[str, Any]]) -> str:
    steps = sorted({int(step) for row in rows for step in row["curve"]})
    lines = [
        "Solved goals of the 50 that the runs themselves measure:\n",
        _line(["runner", "seed", *(f"step {step}" for step in steps)]),
        _line(["---"] * (2 + len(steps))),
    ]
    for row in rows:
        found = [str(row["curve"].get(str(step), "-")) for step in steps]
        lines.append(_line([row["runner"], str(row["seed"]), *found]))
    return "\n".join(lines) + "\n"


_COLUMNS = {
    "successes kept": "online/episodes",
    "frames kept": "online/frames",
    "success of the last 100": "online/success_rate",
    "kept frames a second": "online/rollout_frames_per_s",
    "mean staleness, steps": "online/staleness",
    "mean wait share": "online/wait_share",
}


def _trainings(rows: Sequence[Mapping[str, Any]]) -> str:
    header = ["runner", "seed", "wall s, evaluations included", *_COLUMNS]
    lines = [_line(header), _line(["---"] * len(header))]
    for row in rows:
        numbers = [row["online"].get(name) for name in _COLUMNS.values()]
        shown = ["" if number is None else f"{number:.4g}" for number in numbers]
        lines.append(_line([row["runner"], str(row["seed"]), f"{row['wall_s']:.0f}", *shown]))
    return "\n".join(lines) + "\n"


def _rate(solved: Sequence[bool]) -> str:
    if not solved:
        return "-"
    low, high = wilson_interval(sum(solved), len(solved))
    share = sum(solved) / len(solved)
    return f"{sum(solved)}/{len(solved)} = {share:.0%} ({100 * low:.0f} to {100 * high:.0f})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
