"""Does `trainer data score` find the bad demonstrations? Clean ones and corrupted ones, ranked.

    OMP_NUM_THREADS=1 python -m benchmarks.demonstration_scores

One data set of 50 clean Meta-World demonstrations and 50 others whose actions were corrupted, in
turn: by noise, or by an offset that stays through an episode, so that each is smooth and yet
contradicts the others. Two autoencoders trained on all of them by `il/mutual_information_small`;
scores by `trainer data score`. The area under the curve (AUC) is the probability that a clean one
ranks above a corrupted one; goal: at least 0.9. Writes
`benchmarks/results/demonstration_scores.md`; rows in the work folder are not measured again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from benchmarks.trained_policies import commit

from experiments_il.commands.data import main as data_command
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.data.writer import LeRobotWriter
from experiments_il.sim.record import RecordingPlan, record_demonstrations
from experiments_il.sim.simulators import METAWORLD
from trainer_core.run import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
GOAL = 0.9
TASKS = (
    "pick-place-v3",
    "push-v3",
    "peg-insert-side-v3",
    "drawer-open-v3",
    "button-press-topdown-v3",
)


def main() -> None:
    """Record, corrupt, train, score; write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--noise", nargs="+", type=float, default=[0.3])
    parser.add_argument("--offset", nargs="+", type=float, default=[0.3])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="of the training")
    parser.add_argument("--episodes", type=int, default=50, help="of each kind")
    parser.add_argument("--steps", type=int, default=3000, help="of the training")
    parser.add_argument("--kept", action="store_true", help="write what is there, measure nothing")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    work = options.work.resolve() / "scores"
    corruptions = [Corruption("noise", size) for size in options.noise]
    corruptions += [Corruption("offset", size) for size in options.offset]
    rows: list[dict[str, Any]] = []
    missing: list[str] = []
    for corruption, task, seed in product(corruptions, options.tasks, options.seeds):
        job = Job(task, corruption, seed, options.episodes, options.steps)
        if options.kept and not job.path(work).exists():
            missing.append(f"{task} {corruption.kind} {corruption.size:g} seed {seed}")
            continue
        rows.append(measure(work, job))
        print({key: rows[-1][key] for key in ("task", "corruption", "seed", "auc")}, flush=True)
        write_table(rows, options.out)
    if missing:
        write_table(rows, options.out, missing)


@dataclass(frozen=True)
class Corruption:
    """What is added to the recorded actions, which are within [-1, 1], of every other episode.

    Attributes:
        kind: `noise`, anew in each frame, or `offset`, anew in each episode.
        size: Standard deviation.
    """

    kind: str
    size: float

    @property
    def name(self) -> str:
        """What files of it are called."""
        return f"{self.kind}-{self.size:g}"

    def corrupt(
        self, actions: NDArray[np.float32], random: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return other actions `(T, A)`."""
        shape = actions.shape if self.kind == "noise" else (1, actions.shape[1])
        added = self.size * random.standard_normal(shape)
        return np.clip(actions + added, -1, 1).astype(np.float32)


@dataclass(frozen=True)
class Job:
    """One row.

    Attributes:
        task: Meta-World name.
        corruption: Of the odd episodes.
        seed: Of the training.
        episodes: Of each kind.
        steps: Of the training.
    """

    task: str
    corruption: Corruption
    seed: int = 0
    episodes: int = 50
    steps: int = 3000

    def path(self, work: Path) -> Path:
        """Return where its row is kept."""
        name = f"{self.task}-{self.corruption.name}-{self.episodes}-{self.steps}-seed-{self.seed}"
        return work / "rows" / f"{name}.json"


def measure(work: Path, job: Job) -> dict[str, Any]:
    """Return a row: the kept one, or a new one that is then kept."""
    path = job.path(work)
    if not path.exists():
        data = mixed_demonstrations(work, job.task, job.episodes, job.corruption)
        row = score(work, data, job.task, job.corruption, job.seed, job.steps)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def mixed_demonstrations(work: Path, task: str, episodes: int, corruption: Corruption) -> Path:
    """Return a data set whose even episodes are clean and whose odd ones are corrupted.

    Args:
        work: Folder for it.
        task: Meta-World name.
        episodes: Of each kind.
        corruption: Of the odd ones.
    """
    recorded, mixed = work / f"{task}-recorded-{2 * episodes}", work / f"{task}-{corruption.name}"
    if not recorded.exists():
        record_demonstrations(RecordingPlan(task=task, episodes=2 * episodes), recorded)
    shutil.rmtree(mixed, ignore_errors=True)
    source = open_lerobot(recorded)
    columns = METAWORLD.columns(task, {}, (64, 64))
    stored: dict[str, list[Any]] = {name: [] for name in columns}
    for _, values in source.read_columns(list(columns)):
        for name, array in values.items():
            stored[name].append(array)
    whole = {name: np.concatenate(parts) for name, parts in stored.items()}
    random = np.random.default_rng(0)
    with LeRobotWriter.create(mixed, fps=METAWORLD.fps, features=columns) as writer:
        for number in range(len(source.episodes)):
            rows = slice(source.episodes.start[number], source.episodes.stop[number])
            frames = {name: array[rows].copy() for name, array in whole.items()}
            if number % 2:
                frames["action"] = corruption.corrupt(frames["action"], random)
            writer.add_episode(frames, task)
    return mixed


def score(
    work: Path, data: Path, task: str, corruption: Corruption, seed: int, steps: int
) -> dict[str, Any]:
    """Return how well a run's scores tell clean episodes from corrupted ones."""
    out = work / "runs" / f"{task}-{corruption.name}-seed-{seed}"
    shutil.rmtree(out, ignore_errors=True)
    began, cpu = time.perf_counter(), time.process_time()
    lerobot = (
        f"data={{_merge_: replace, _type_: lerobot, root: {data}, windows: {{action: [0, "
        "'${params.horizon}']}, keys: [observation.state, episode_index], normalize: "
        "{observation.state: mean_std, action: mean_std}, batch_size: 256}"
    )
    overrides = [lerobot, f"params.task={task}", f"params.steps={steps}"]
    settings = [*overrides, f"run.seed={seed}", f"run.out_dir={out}"]
    assert run("il/mutual_information_small", settings).status == "completed"
    assert data_command(["score", str(out)]) == 0
    ranked = json.loads((out / "scores.json").read_text(encoding="utf-8"))["episodes"]
    scores = {each["episode"]: each["score"] for each in ranked}
    clean = [value for episode, value in scores.items() if episode % 2 == 0]
    corrupted = [value for episode, value in scores.items() if episode % 2]
    return {
        "task": task,
        "corruption": corruption.kind,
        "size": corruption.size,
        "seed": seed,
        "episodes": len(clean),
        "auc": auc(clean, corrupted),
        "clean": float(np.mean(clean)),
        "corrupted": float(np.mean(corrupted)),
        "wall_s": round(time.perf_counter() - began, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "steps": steps,
        "commit": commit(),
        "torch": torch.__version__,
    }


def auc(good: Sequence[float], bad: Sequence[float]) -> float:
    """Return the probability that one of `good` is above one of `bad`; ties count half."""
    differences = np.subtract.outer(np.asarray(good), np.asarray(bad))
    return float((differences > 0).mean() + 0.5 * (differences == 0).mean())


def write_table(rows: Sequence[dict[str, Any]], out: Path, missing: Sequence[str] = ()) -> None:
    """Write the raw rows and the page, which names the rows that are missing."""
    out.mkdir(parents=True, exist_ok=True)
    raw = json.dumps(list(rows), indent=1) + "\n"
    (out / "demonstration_scores.json").write_text(raw, encoding="utf-8")
    first = rows[0]
    lines = [
        "# Ranking demonstrations\n",
        "Written by `OMP_NUM_THREADS=1 python -m benchmarks.demonstration_scores`.\n",
        (
            f"{first['episodes']} clean demonstrations by Meta-World's scripts and as many whose "
            "recorded actions\nare corrupted by what is added, in one data set: Gaussian noise, or "
            "a Gaussian offset that stays\nthrough an episode, so that each is smooth and "
            "contradicts the others. Standard deviations in the\ntable; actions are within "
            f"[-1, 1]. {first['steps']} steps of `il/mutual_information_small`, then\n"
            "`trainer data score`. AUC: the probability that a clean one ranks above a corrupted "
            "one; 0.5 is\nchance. Scores are means over episodes, in standard deviations of the "
            f"frames. One thread of a machine that other work shared; torch {first['torch']};\n"
            f"commits {', '.join(sorted({row['commit'] for row in rows}))}.\n"
        ),
        "| task | added | seed | AUC | mean score, clean | corrupted | CPU s | wall s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['task']} | {row['corruption']} {row['size']:g} | {row['seed']} | "
        f"**{row['auc']:.3f}** | {row['clean']:+.2f} | {row['corrupted']:+.2f} | "
        f"{row['cpu_s']:.0f} | {row['wall_s']:.0f} |"
        for row in rows
    ]
    below = [row for row in rows if row["auc"] < GOAL]
    verdict = "met by all rows" if not below else f"missed by {len(below)} of {len(rows)} rows"
    lines.append(f"\nGoal: AUC of at least {GOAL:g}: {verdict}.\n")
    if missing:
        lines.append(f"Not measured yet: {', '.join(missing)}.\n")
    (out / "demonstration_scores.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
