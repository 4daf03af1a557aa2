"""Success after the same training time on one thread, beside figures of LeRobot's policies.

The steps of a training are chosen from a short calibration so that its loop takes at most the given
CPU seconds, and the schedule of the learning rate ends with them; a training that took longer is
done again with fewer steps. Run it as `OMP_NUM_THREADS=1 python -m benchmarks.equal_time`: it
writes `benchmarks/results/equal_time.md` and `equal_time.json`, anew after each row.

The figures beside ours are stored ones; they are not measured again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.metaworld import RESULTS
from benchmarks.trained_policies import POLICIES, Job, Row, find_kept, measure, step_cost

from experiments_il.sim.statistics import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

TASKS = ("pick-place-v3", "peg-insert-side-v3")
BUDGETS = (30, 150)
REFERENCES = {
    ("pick-place-v3", 150): {
        "ACT of LeRobot 0.6.1": 30,
        "Diffusion of LeRobot 0.6.1": 14,
        "bare flow-matching MLP": 30,
    },
    ("peg-insert-side-v3", 150): {
        "ACT of LeRobot 0.6.1": 28,
        "Diffusion of LeRobot 0.6.1": 15,
        "bare flow-matching MLP": 28,
    },
    ("peg-insert-side-v3", 30): {"ACT of LeRobot 0.6.1": 8, "bare flow-matching MLP": 22},
}
"""Solved of 30 episodes after this many seconds of training."""
_REFERENCE_EPISODES = 30
_ABOUT = """# Success after equal training time on one thread

Written by `OMP_NUM_THREADS=1 python -m benchmarks.equal_time`; raw rows in
[equal_time.json](equal_time.json).

- Ours: {demonstrations} demonstrations by Meta-World's scripts, seed {recorded}, with the noise of
  the row on the executed actions; the shipped recipes with as many steps as fit; training seed
  {seed}; {goals} goals, seed {evaluated}, at most 300 steps. Training time is process CPU time of
  the whole training loop, because the machine was shared; what was really used is in the row.
  torch {torch}; commit {commits}.
- The others, in italics, are stored figures: {others} goals after this many seconds of training on
  one thread, LeRobot 0.6.1 with its data in memory, 50 demonstrations. They were not measured again
  beside ours; their machine, and whether their demonstrations had noise, is not recorded.
- Intervals: Wilson, 95 %. One training each; differences within the intervals say nothing.
"""
_MARGIN = 0.97  # of the budget: the cost of a step varies on a shared machine
_FEWEST_STEPS = 500


@dataclass(frozen=True)
class Timed:
    """A row and the budget it was trained within.

    Attributes:
        budget_s: CPU seconds.
        row: What was measured.
    """

    budget_s: int
    row: Row


def main() -> None:
    """Measure what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS, metavar="TASK")
    parser.add_argument("--policies", nargs="+", default=["flow matching"], choices=list(POLICIES))
    parser.add_argument("--budgets", nargs="+", type=int, default=BUDGETS, help="CPU seconds")
    parser.add_argument("--noise", nargs="+", type=float, default=[0.0, 0.1], help="of the demos")
    parser.add_argument("--episodes", type=int, default=50, help="goals per trained policy")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--kept", action="store_true", help="write what is there, measure nothing")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work"), help="kept rows")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    options = parser.parse_args()
    found: list[Timed] = []
    for budget, task, noise, policy in product(
        options.budgets, options.tasks, options.noise, options.policies
    ):
        job = Job(policy, task, options.seed, options.episodes, noise)
        work = options.work.resolve()
        row = find_within(job, budget, work)
        if row is None:
            if options.kept:
                continue
            row = measure_within(job, budget, work)
        found.append(Timed(budget, row))
        print(
            f"{row.task:20} {row.policy:14} noise {noise} {budget:4} s: "
            f"{row.successes}/{len(row.solved)}, {row.steps} steps in {row.train_cpu_s:.1f} s",
            flush=True,
        )
        write_table(found, options.out)


def find_within(job: Job, budget_s: int, work: Path) -> Row | None:
    """Return the kept row of a budget, if there is one."""
    path = _steps_path(job, budget_s, work)
    if not path.is_file():
        return None
    return find_kept(replace(job, steps=json.loads(path.read_text())), work)


def measure_within(job: Job, budget_s: int, work: Path) -> Row:
    """Return the row of a training whose loop took at most `budget_s` CPU seconds."""
    steps = int(_MARGIN * budget_s / step_cost(job, work))
    while True:
        row = measure(replace(job, steps=max(steps, _FEWEST_STEPS)), work)
        if row.train_cpu_s <= budget_s or steps <= _FEWEST_STEPS:
            break
        steps = int(_MARGIN * steps * budget_s / row.train_cpu_s)
    path = _steps_path(job, budget_s, work)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row.steps))
    return row


def _steps_path(job: Job, budget_s: int, work: Path) -> Path:
    return work / "steps" / f"{job.name}-{budget_s}-s.json"


def write_table(found: Sequence[Timed], out: Path) -> None:
    """Write the raw rows and the page."""
    out.mkdir(parents=True, exist_ok=True)
    raw = json.dumps([asdict(each) for each in found], indent=1)
    (out / "equal_time.json").write_text(raw + "\n", encoding="utf-8")
    (out / "equal_time.md").write_text(to_page(found), encoding="utf-8")


def to_page(found: Sequence[Timed]) -> str:
    """Return the page of these rows."""
    first = found[0].row
    commits = ", ".join(sorted({each.row.commit for each in found}))
    header = ["task", "training s", "policy", "success", "95 %", "steps", "CPU s", "wall s"]
    lines = [_line(header), _line(["---"] * len(header))]
    for task, budget in product(
        dict.fromkeys(each.row.task for each in found),
        sorted({each.budget_s for each in found}),
    ):
        for name, solved in REFERENCES.get((task, budget), {}).items():
            lines.append(_reference_line(task, budget, name, solved))
        lines += [
            _own_line(each) for each in found if each.row.task == task and each.budget_s == budget
        ]
    about = _ABOUT.format(
        demonstrations=first.demonstrations["episodes"],
        recorded=first.demonstrations["seed"],
        seed=first.seed,
        goals=len(first.solved),
        evaluated=first.evaluation_seed,
        torch=first.torch,
        commits=commits,
        others=_REFERENCE_EPISODES,
    )
    return "\n".join([about, *lines, "", _verdict(found)])


def _verdict(found: Sequence[Timed]) -> str:
    """Return the goal and where it is missed."""
    behind = []
    for each in found:
        of_others = REFERENCES.get((each.row.task, each.budget_s), {})
        best = max(of_others.values(), default=0) / _REFERENCE_EPISODES
        rate = each.row.successes / len(each.row.solved)
        if each.row.policy == "flow matching" and rate < best:
            behind.append(
                f"- {each.row.task} after {each.budget_s} s with noise "
                f"{each.row.demonstrations['noise']}: {rate:.0%} against {best:.0%}"
                f"{', within its interval' if _upper(each.row) >= best else ''}."
            )
    measured = {(each.row.task, each.budget_s) for each in found}
    open_ = [f"{task} after {budget} s" for task, budget in REFERENCES.keys() - measured]
    goal = "Goal: flow matching's rate not below the best of the others."
    told = f"{goal} Met in every row.\n"
    if behind:
        told = f"{goal} Missed:\n\n" + "\n".join(behind) + "\n"
    return told + (f"Not measured yet: {', '.join(sorted(open_))}.\n" if open_ else "")


def _upper(row: Row) -> float:
    return wilson_interval(row.successes, len(row.solved))[1]


def _own_line(each: Timed) -> str:
    row = each.row
    name = f"{row.policy}, noise {row.demonstrations['noise']}"
    return _line(
        [
            *(row.task, str(each.budget_s), name, *_rate(row.successes, len(row.solved))),
            *(str(row.steps), f"{row.train_cpu_s:.1f}", f"{row.train_wall_s:.1f}"),
        ]
    )


def _reference_line(task: str, budget: int, name: str, solved: int) -> str:
    rate = _rate(solved, _REFERENCE_EPISODES)
    return _line([task, str(budget), f"*{name}*", *rate, "", "", ""])


def _rate(solved: int, n: int) -> tuple[str, str]:
    low, high = wilson_interval(solved, n)
    return f"{solved}/{n} = {solved / n:.0%}", f"{100 * low:.0f} to {100 * high:.0f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
