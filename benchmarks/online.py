"""What learning online brings: `il/peg_insert_online` against the same file with `--runner local`.

Both do as many gradient steps from the same 50 demonstrations; until `offline_steps` they are one.
Run it as `OMP_NUM_THREADS=1 python -m benchmarks.online`: it writes `benchmarks/results/online.md`
and the raw rows to `online.json` beside it, anew after each row. Runs that are in the work folder
go on, and those that are over are not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from benchmarks.online_page import to_page
from benchmarks.trained_policies import commit

from experiments_il.sim.simulators import METAWORLD
from trainer_core.experiment.loading import load_experiment

if TYPE_CHECKING:
    from collections.abc import Sequence

RECIPE = "il/peg_insert_online"
RUNNERS = ("local", "ray_online")
RESULTS = Path(__file__).parent / "results"
GOALS = (1000, 1001)
"""Seeds of the goals that are played, 50 each: the recipe's own, and other ones."""
EPISODES = 50
LONGEST = 300
"""Steps of an episode, at most."""
_LIMIT_S = 4 * 3600.0


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        runner: `local`: the demonstrations alone; `ray_online`: own episodes too.
        seed: Of the training.
        offline_steps: Steps on the demonstrations alone.
        steps: All of them.
        noise: Of the demonstrations.
        solved: By step: of each goal of `GOALS`, in order.
        curve: By step: solved goals of the recipe's own evaluation.
        wall_s: Of the training with its evaluations, start and end included.
        online: The last value of each `online/...` metric, or the mean of shares and ages.
        changes: Overrides of the recipe.
        commit: Of this repository.
        torch: Its version.
        options: Keys of `runner:` in the recipe; empty with `local`.
    """

    runner: str
    seed: int
    offline_steps: int
    steps: int
    noise: float
    solved: dict[str, list[bool]]
    curve: dict[str, int]
    wall_s: float
    online: dict[str, float]
    changes: list[str]
    commit: str
    torch: str
    options: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the training")
    parser.add_argument("--set", nargs="*", default=[], metavar="a.b=c", help="overrides")
    parser.add_argument("--kept", action="store_true", help="write what is there, measure nothing")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/online"))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the page")
    options = parser.parse_args()
    work = options.work.resolve()
    rows: list[Row] = []
    for seed, runner in product(options.seeds, RUNNERS):
        path = work / "rows" / f"{runner}-seed-{seed}.json"
        if not path.is_file() and options.kept:
            continue
        if not path.is_file():
            row = measure(runner, seed, options.set, work)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(asdict(row), indent=1) + "\n", encoding="utf-8")
        rows.append(Row(**json.loads(path.read_text(encoding="utf-8"))))
        write_page(rows, play_script(), options.out)


def write_page(rows: Sequence[Row], script: Sequence[int | None], out: Path) -> None:
    """Write the raw rows and the page."""
    out.mkdir(parents=True, exist_ok=True)
    raw = [asdict(row) for row in rows]
    text = json.dumps({"rows": raw, "script": script}, indent=1) + "\n"
    (out / "online.json").write_text(text, encoding="utf-8")
    (out / "online.md").write_text(to_page(raw, script), encoding="utf-8")


@cache
def play_script() -> tuple[int | None, ...]:
    """Return after how many steps the script that demonstrated solves each goal, if it does."""
    task = load_experiment(RECIPE).resolved.data["params"]["task"]
    taken: list[int | None] = []
    for goals in GOALS:
        environment = METAWORLD.make(task, goals)
        for episode in range(EPISODES):
            environment.reset(episode)
            act = METAWORLD.expert_factory("scripted")(environment, np.random.default_rng(0))
            steps = range(1, LONGEST + 1)
            solved = (n for n in steps if environment.step(act(environment.state)).success)
            taken.append(next(solved, None))
        environment.close()
    return tuple(taken)


def measure(runner: str, seed: int, changes: Sequence[str], work: Path) -> Row:
    """Train, then play the goals before the rollouts and at the end.

    Raises:
        SystemExit: A process failed.
    """
    out = work / "runs" / f"{runner}-seed-{seed}"
    config = load_experiment(RECIPE, changes).resolved.data
    params = config["params"]
    first, last = params["offline_steps"], params["steps"]
    overrides = [
        *changes,
        f"run.out_dir={out}",
        f"run.seed={seed}",
        f"data.root={work}/demonstrations-noise-{params['noise']}",
        "evaluation.video_episodes=0",
        f"callbacks.1.every_n_steps={first}",
        "callbacks.1.keep_last=99",
    ]
    began = time.perf_counter()
    _trainer("run", RECIPE, *overrides, "--runner", runner)
    wall_s = time.perf_counter() - began
    return Row(
        runner=runner,
        seed=seed,
        offline_steps=first,
        steps=last,
        noise=params["noise"],
        solved={str(step): _play_all(out, step) for step in (first, last)},
        curve={
            str(int(file.parent.name.removeprefix("step-"))): sum(_solved(file))
            for file in sorted(out.glob("evaluation/step-*/episodes.jsonl"))
        },
        wall_s=round(wall_s, 1),
        online=_read_metrics(out / "metrics.jsonl", first),
        changes=list(changes),
        commit=commit(),
        torch=torch.__version__,
        options={} if runner == "local" else config["runner"],
    )


def _play_all(out: Path, step: int) -> list[bool]:
    """Return whether each goal is solved by the checkpoint of a step."""
    solved = []
    for goals in GOALS:
        folder = out / "goals" / f"{step}-{goals}"
        if not (folder / "result.json").is_file():
            numbers = [f"--seed={goals}", f"--episodes={EPISODES}", "--videos=0", "--num-envs=5"]
            _trainer("eval", f"{out}@{step}", *numbers, f"--out={folder}")
        solved += _solved(folder / "episodes.jsonl")
    return solved


def _solved(file: Path) -> list[bool]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [bool(json.loads(line)["success"]) for line in lines]


def _read_metrics(file: Path, first: int) -> dict[str, float]:
    """Return what the log lines after `offline_steps` say of the rollouts."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()]
    names = {name for line in lines for name in line if name.startswith("online/")}
    found = {}
    for name in sorted(names):
        values = [line[name] for line in lines if name in line and line["step"] > first]
        is_mean = name.endswith(("_share", "staleness", "policy_lag", "_per_s"))
        if values:
            found[name] = round(sum(values) / len(values) if is_mean else values[-1], 4)
    return found


def _trainer(*arguments: str) -> None:
    """Run a command of `trainer`; its lines appear here.

    Raises:
        SystemExit: It failed.
    """
    command = [sys.executable, "-m", "trainer_core", *arguments]
    done = subprocess.run(command, check=False, timeout=_LIMIT_S)
    if done.returncode:
        sys.exit(f"trainer {' '.join(arguments)} ended with {done.returncode}")


if __name__ == "__main__":
    main()
