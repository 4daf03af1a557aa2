"""Does `trainer data score` find the bad demonstrations? Clean ones and noisy ones, ranked.

    OMP_NUM_THREADS=1 python -m benchmarks.demonstration_scores

One data set of 50 clean Meta-World demonstrations and 50 others whose actions were corrupted by
noise, in turn; two autoencoders trained on all of them by `il/mutual_information_small`; scores by
`trainer data score`. The area under the curve (AUC) is the probability that a clean one ranks above
a corrupted one; goal: at least 0.9. Writes `benchmarks/results/demonstration_scores.md`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
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

RESULTS = Path(__file__).parent / "results"
GOAL = 0.9


def main() -> None:
    """Record, corrupt, train, score; write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=["pick-place-v3", "drawer-open-v3"])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.3, 0.6])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="of the training")
    parser.add_argument("--episodes", type=int, default=50, help="of each kind")
    parser.add_argument("--steps", type=int, default=3000, help="of the training")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    work = options.work.resolve() / "scores"
    rows: list[dict[str, Any]] = []
    for task in options.tasks:
        for noise in options.noise:
            data = mixed_demonstrations(work, task, options.episodes, noise)
            for seed in options.seeds:
                rows.append(score(work, data, task, noise, seed, options.steps))
                print({key: rows[-1][key] for key in ("task", "noise", "seed", "auc")}, flush=True)
                write_table(rows, options.out)


def mixed_demonstrations(work: Path, task: str, episodes: int, noise: float) -> Path:
    """Return a data set whose even episodes are clean and whose odd ones are corrupted.

    Args:
        work: Folder for it.
        task: Meta-World name.
        episodes: Of each kind.
        noise: Standard deviation of the noise on recorded actions, which are within [-1, 1].
    """
    recorded, mixed = work / f"{task}-recorded-{2 * episodes}", work / f"{task}-noise-{noise:g}"
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
                added = noise * random.standard_normal(frames["action"].shape)
                frames["action"] = np.clip(frames["action"] + added, -1, 1).astype(np.float32)
            writer.add_episode(frames, task)
    return mixed


def score(work: Path, data: Path, task: str, noise: float, seed: int, steps: int) -> dict[str, Any]:
    """Return how well a run's scores tell clean episodes from corrupted ones."""
    out = work / "runs" / f"{task}-noise-{noise:g}-seed-{seed}"
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
        "noise": noise,
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


def write_table(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Write the raw rows and the page."""
    out.mkdir(parents=True, exist_ok=True)
    raw = json.dumps(list(rows), indent=1) + "\n"
    (out / "demonstration_scores.json").write_text(raw, encoding="utf-8")
    first = rows[0]
    lines = [
        "# Ranking demonstrations\n",
        "Written by `OMP_NUM_THREADS=1 python -m benchmarks.demonstration_scores`.\n",
        (
            f"{first['episodes']} clean demonstrations by Meta-World's scripts and as many whose "
            "recorded actions\nhave Gaussian noise (standard deviation in the table, actions "
            f"within [-1, 1]), in one data set;\n{first['steps']} steps of "
            "`il/mutual_information_small`, then `trainer data score`. AUC: the\nprobability that "
            "a clean one ranks above a corrupted one; 0.5 is chance. Scores are means over\n"
            "episodes, in standard deviations of the frames. "
            f"Commit {first['commit']}, torch {first['torch']},\none thread.\n"
        ),
        "| task | noise | seed | AUC | mean score, clean | corrupted | CPU s | wall s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['task']} | {row['noise']:g} | {row['seed']} | **{row['auc']:.3f}** | "
        f"{row['clean']:+.2f} | {row['corrupted']:+.2f} | {row['cpu_s']:.0f} | "
        f"{row['wall_s']:.0f} |"
        for row in rows
    ]
    below = [row for row in rows if row["auc"] < GOAL]
    verdict = "met by all rows" if not below else f"missed by {len(below)} of {len(rows)} rows"
    lines.append(f"\nGoal: AUC of at least {GOAL:g}: {verdict}.\n")
    (out / "demonstration_scores.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
