"""Success of four policies on Meta-World tasks: regression, flow matching, VFP, CFG-VQ-VAE.

All train on the same 50 scripted demonstrations of a task, on one thread, by their shipped recipes
for the same number of steps, and play the same 50 goals that no demonstration has shown. Run it as
`OMP_NUM_THREADS=1 python -m benchmarks.metaworld`: it writes `benchmarks/results/metaworld.md` and
the raw rows to `metaworld.json` beside it, anew after each row. Rows that are already in the work
folder are not measured again, unless their recipe has changed.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.trained_policies import POLICIES, Job, Row, find_kept, measure

from experiments_il.sim.statistics import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

EASY = ("button-press-topdown-v3", "drawer-open-v3")
TASKS = (*EASY, "push-v3", "pick-place-v3", "peg-insert-side-v3")
RESULTS = Path(__file__).parent / "results"
REFERENCE = "flow matching"
GOAL = 0.9
_SEEDS = 2
STEPS = dict.fromkeys(POLICIES, 2000)
"""Training steps of each policy: few, so that the tasks tell the policies apart."""

_ABOUT = """Written by `OMP_NUM_THREADS=1 python -m benchmarks.metaworld`; raw rows in
[metaworld.json](metaworld.json).

- {episodes} demonstrations a task by Meta-World's scripts, seed {seed}, noise of {noise} on the
  executed actions. Frames: {frames}.
- The recipes {recipes}, but only {steps} steps;
  what these cost is in the last table. Training seeds {seeds}. The averaged weights play.
- {goals} goals a training, seed {evaluated}, none of them demonstrated, at most 300 steps each;
  chunks of 8 actions of which 4 are executed; 10 sampling steps.
- Intervals: Wilson, 95 %; they treat the episodes of all seeds as independent.
- One thread of a machine that other work shared; torch {torch}; commit {commits}.
"""
_PAIRS = (
    "Pairs of the same training seed and the same goal: how often only the policy, or only\n"
    "flow matching, succeeds, and the two-sided p value of the exact sign test.\n"
)


def main() -> None:
    """Measure what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS, metavar="TASK")
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=list(POLICIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="of the training")
    parser.add_argument("--episodes", type=int, default=50, help="goals per trained policy")
    parser.add_argument("--kept", action="store_true", help="write what is there, measure nothing")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work"), help="kept rows")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    options = parser.parse_args()
    jobs = [
        Job(policy, task, seed, options.episodes, steps=STEPS[policy])
        for seed, task, policy in product(options.seeds, options.tasks, options.policies)
    ]
    work = options.work.resolve()
    if options.kept:
        write_table([row for job in jobs if (row := find_kept(job, work))], options.out)
        return
    rows: list[Row] = []
    for job in jobs:
        rows.append(measure(job, work))
        _say(rows[-1])
        write_table(rows, options.out)


def _say(row: Row) -> None:
    print(
        f"{row.task:24} {row.policy:14} seed {row.seed}: {row.successes}/{len(row.solved)}, "
        f"{row.steps} steps in {row.train_cpu_s:.0f} CPU seconds",
        flush=True,
    )


def write_table(rows: Sequence[Row], out: Path) -> None:
    """Write the raw rows and the page."""
    out.mkdir(parents=True, exist_ok=True)
    raw = json.dumps([asdict(row) for row in rows], indent=1)
    (out / "metaworld.json").write_text(raw + "\n", encoding="utf-8")
    (out / "metaworld.md").write_text(to_page(rows), encoding="utf-8")


def to_page(rows: Sequence[Row]) -> str:
    """Return the page of these rows."""
    parts = [
        "# Meta-World: four policies, the same demonstrations\n",
        _describe(rows),
        "## Success over all seeds\n",
        _success_table(rows),
        _verdict(rows),
        _seeds_verdict(rows),
        "## Against flow matching, goal by goal\n",
        _PAIRS,
        _paired_table(rows),
        "## Each training\n",
        _training_table(rows),
    ]
    return "\n".join(parts)


def _describe(rows: Sequence[Row]) -> str:
    of_tasks = {row.task: row.demonstrations for row in rows}
    frames = ", ".join(f"{task} {each['frames']}" for task, each in of_tasks.items())
    first = rows[0]
    seeds = ", ".join(str(seed) for seed in sorted({row.seed for row in rows}))
    commits = ", ".join(sorted({row.commit for row in rows}))
    recipes = ", ".join(f"`{POLICIES[name]}`" for name in _names(rows))
    steps = " or ".join(str(steps) for steps in sorted({row.steps for row in rows}))
    return _ABOUT.format(
        seeds=seeds,
        recipes=recipes,
        steps=steps,
        frames=frames,
        goals=len(first.solved),
        evaluated=first.evaluation_seed,
        torch=first.torch,
        commits=commits,
        **{name: first.demonstrations[name] for name in ("episodes", "seed", "noise")},
    )


def _success_table(rows: Sequence[Row]) -> str:
    names = _names(rows)
    lines = [_line(["task", *names]), _line(["---"] * (1 + len(names)))]
    for task in _tasks(rows):
        cells = [_pooled(rows, task, name) for name in names]
        lines.append(_line([task, *(_rate(*cell) for cell in cells)]))
    every = [_pooled(rows, None, name) for name in names]
    lines.append(_line(["all", *(_rate(*cell) for cell in every)]))
    return "\n".join(lines) + "\n"


def _verdict(rows: Sequence[Row]) -> str:
    """Return whether each policy reaches the goal on the easy tasks."""
    lines = []
    for task, name in product([task for task in _tasks(rows) if task in EASY], _names(rows)):
        solved, n = _pooled(rows, task, name)
        if n and solved / n < GOAL:
            lines.append(f"- {name} on {task}: {solved}/{n}, below the goal of {GOAL:.0%}.")
    if not lines:
        return f"Goal: no policy below {GOAL:.0%} on {' and '.join(EASY)}. Met.\n"
    head = f"Goal: no policy below {GOAL:.0%} on {' and '.join(EASY)}. Missed:\n\n"
    return head + "\n".join(lines) + "\n"


def _seeds_verdict(rows: Sequence[Row]) -> str:
    """Return whether each cell has enough trainings to tell a policy from a lucky seed."""
    cells = Counter((row.task, row.policy) for row in rows)
    few = sum(count < _SEEDS for count in cells.values())
    goal = f"Goal: at least {_SEEDS} training seeds in each cell."
    return f"{goal} {'Met' if not few else f'Missed in {few} of {len(cells)}'}.\n"


def _paired_table(rows: Sequence[Row]) -> str:
    header = ["task", "policy", "only the policy", "only flow matching", "p"]
    lines = [_line(header), _line(["---"] * len(header))]
    others = [name for name in _names(rows) if name != REFERENCE]
    for task, name in product([*_tasks(rows), None], others):
        better, worse = _discordant(rows, task, name)
        p_value = sign_test(better, worse)
        lines.append(_line([task or "all", name, str(better), str(worse), f"{p_value:.2g}"]))
    return "\n".join(lines) + "\n"


def _discordant(rows: Sequence[Row], task: str | None, name: str) -> tuple[int, int]:
    """Return how often only the policy, and only the reference, solved the same goal."""
    solved = {(row.task, row.seed, row.policy): row.solved for row in rows}
    better = worse = 0
    for (of_task, seed, policy), own in solved.items():
        if policy != name or task not in {None, of_task}:
            continue
        for ours, theirs in zip(own, solved.get((of_task, seed, REFERENCE), []), strict=False):
            better += ours and not theirs
            worse += theirs and not ours
    return better, worse


def sign_test(better: int, worse: int) -> float:
    """Return the two-sided p value of the exact sign test."""
    n, most = better + worse, max(better, worse)
    tail = sum(math.comb(n, k) for k in range(most, n + 1)) / math.pow(2, n)
    return min(1.0, 2 * tail)


def _training_table(rows: Sequence[Row]) -> str:
    header = ["task", "policy", "seed", "success", "mean steps", "training steps", "batch"]
    header += ["parameters", "training CPU s", "training wall s", "evaluation wall s"]
    lines = [_line(header), _line(["---"] * len(header))]
    lines += [
        _line(
            [
                *(row.task, row.policy, str(row.seed)),
                *(f"{row.successes}/{len(row.solved)}", f"{row.mean_steps:.0f}"),
                *(str(row.steps), str(row.batch_size), f"{row.parameters:,}"),
                *(f"{row.train_cpu_s:.0f}", f"{row.train_wall_s:.0f}", f"{row.evaluation_s:.0f}"),
            ]
        )
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _names(rows: Sequence[Row]) -> list[str]:
    present = {row.policy for row in rows}
    return [name for name in POLICIES if name in present]


def _tasks(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.task for row in rows))


def _pooled(rows: Sequence[Row], task: str | None, name: str) -> tuple[int, int]:
    chosen = [row for row in rows if task in {None, row.task} and row.policy == name]
    return sum(row.successes for row in chosen), sum(len(row.solved) for row in chosen)


def _rate(solved: int, n: int) -> str:
    if not n:
        return "-"
    low, high = wilson_interval(solved, n)
    return f"{solved}/{n} = {solved / n:.0%} ({100 * low:.0f} to {100 * high:.0f})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
