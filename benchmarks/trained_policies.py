"""Trains a recipe's policy on one thread, measures it in Meta-World, and keeps what was found.

A row is a JSON file of its own in the folder of rows. It is kept as long as what was measured, the
resolved experiment with its models, stays the same; so a table of many rows can be interrupted,
extended and finished later.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trainer_core.engine.build import build_experiment
from trainer_core.engine.loop import fit
from trainer_core.experiment.loading import load_experiment
from trainer_core.hookspecs import hookimpl
from trainer_core.ranks import LocalRanks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.engine.built import Experiment
    from trainer_core.engine.state import RunState
    from trainer_core.experiment.loading import LoadedExperiment

__all__ = ["POLICIES", "Job", "Row", "commit", "find_kept", "measure", "step_cost"]

POLICIES = {
    "regression": "il/regression_small",
    "flow matching": "il/pick_place",
    "VFP": "il/vfp_small",
    "CFG-VQ-VAE": "il/cfg_vqvae_small",
}
"""The policies by name, and the recipe of each."""

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Job:
    """One training and its evaluation.

    Attributes:
        policy: A name of `POLICIES`.
        task: Meta-World name.
        seed: Of the training; demonstrations and goals of the evaluation are the same for all.
        episodes: Goals to play.
        noise: On the executed actions of the demonstrations.
        steps: Optimizer steps; None: the recipe's.
        changes: Further overrides of the recipe.
    """

    policy: str
    task: str
    seed: int = 0
    episodes: int = 50
    noise: float = 0.1
    steps: int | None = None
    changes: tuple[str, ...] = ()

    def load(self, work: Path) -> LoadedExperiment:
        """Return the checked experiment, whose data and run folders are below `work`."""
        overrides = [
            f"params.task={self.task}",
            f"params.noise={self.noise}",
            f"data.root={work}/demonstrations/{self.task}-noise-{self.noise}",
            f"run.out_dir={work}/runs/{self.name}",
            f"run.seed={self.seed}",
            f"evaluation.episodes={self.episodes}",
            "evaluation.num_envs=10",
            "evaluation.video_episodes=0",
            *([] if self.steps is None else [f"params.steps={self.steps}"]),
            *self.changes,
        ]
        return load_experiment(POLICIES[self.policy], overrides)

    @property
    def name(self) -> str:
        """What files of this job are called."""
        policy = self.policy.replace(" ", "-")
        steps = "" if self.steps is None else f"-{self.steps}-steps"
        return f"{self.task}-{policy}-noise-{self.noise}{steps}-seed-{self.seed}"


@dataclass(frozen=True)
class Row:
    """What was measured.

    Attributes:
        policy: Name of the policy.
        task: Meta-World name.
        seed: Of the training.
        steps: Optimizer steps.
        batch_size: Samples of a step.
        parameters: Trained numbers.
        train_cpu_s: Process CPU time of the training loop, all threads, without the evaluation.
        train_wall_s: Wall time of the same.
        evaluation_s: Wall time of the evaluation.
        solved: Of each episode of the evaluation, in order.
        mean_steps: Of the episodes, solved or not.
        demonstrations: How they were recorded: episodes, frames, noise, seed.
        evaluation_seed: Of the goals of the evaluation.
        commit: Of this repository.
        torch: Its version.
        recipe: The recipe.
        digest: Of the resolved experiment and its models.
        changes: Overrides of the recipe beyond task, seed, folders.
    """

    policy: str
    task: str
    seed: int
    steps: int
    batch_size: int
    parameters: int
    train_cpu_s: float
    train_wall_s: float
    evaluation_s: float
    solved: list[bool]
    mean_steps: float
    demonstrations: dict[str, Any]
    evaluation_seed: int
    commit: str
    torch: str
    recipe: str
    digest: str
    changes: list[str] = field(default_factory=list)

    @property
    def successes(self) -> int:
        """Solved episodes."""
        return sum(self.solved)


def measure(job: Job, work: Path) -> Row:
    """Return the row of a job: the kept one, or a new one that is then kept.

    Raises:
        SystemExit: The training was interrupted.
    """
    kept = find_kept(job, work)
    if kept is not None:
        return kept
    loaded = job.load(work)
    out = Path(loaded.config.run.out_dir)
    shutil.rmtree(out, ignore_errors=True)
    experiment = build_experiment(loaded, LocalRanks())
    clock = _TrainingClock()
    experiment.hooks.add(clock)
    result = fit(experiment, out)
    if result.status != "completed":
        sys.exit(f"{job.name}: {result.status}; the rows before it are kept")
    lines = next(out.glob("evaluation/*/episodes.jsonl")).read_text().splitlines()
    row = Row(
        policy=job.policy,
        task=job.task,
        seed=job.seed,
        steps=result.step,
        batch_size=experiment.global_batch,
        parameters=_count_parameters(experiment),
        train_cpu_s=round(clock.cpu_s, 2),
        train_wall_s=round(clock.wall_s, 2),
        evaluation_s=round(float(result.evaluation["seconds"]), 2),
        solved=[json.loads(line)["success"] for line in lines],
        mean_steps=float(result.evaluation["mean_steps"]),
        demonstrations=_describe_demonstrations(loaded.config.data.component),
        evaluation_seed=_evaluation(loaded)["seed"],
        commit=commit(),
        torch=torch.__version__,
        recipe=POLICIES[job.policy],
        digest=_digest(loaded),
        changes=list(job.changes),
    )
    path = _row_path(job, work)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(row), indent=1) + "\n", encoding="utf-8")
    return row


def find_kept(job: Job, work: Path) -> Row | None:
    """Return the kept row of a job, unless its experiment has become another."""
    path = _row_path(job, work)
    if not path.is_file():
        return None
    kept = Row(**json.loads(path.read_text()))
    return kept if kept.digest == _digest(job.load(work)) else None


def _row_path(job: Job, work: Path) -> Path:
    return work / "rows" / f"{job.name}.json"


def step_cost(job: Job, work: Path, steps: int = 400) -> float:
    """Return the CPU seconds of a training step, from a short training that is thrown away."""
    loaded = replace(job, steps=steps, changes=(*job.changes, "optimizer.warmup_steps=1")).load(
        work
    )
    out = Path(loaded.config.run.out_dir)
    shutil.rmtree(out, ignore_errors=True)
    experiment = build_experiment(loaded, LocalRanks())
    experiment.evaluator = None
    clock = _TrainingClock()
    experiment.hooks.add(clock)
    fit(experiment, out)
    shutil.rmtree(out, ignore_errors=True)
    return clock.cpu_s / steps


def commit() -> str:
    """Return the short hash of the repository's commit, marked where the sources differ from it."""
    hashed = _git("rev-parse", "--short", "HEAD")
    return f"{hashed}+" if _git("status", "--porcelain", "--", "packages") else hashed


class _TrainingClock:
    """Notes what the steps of a run cost, from the first to before the evaluation."""

    def __init__(self) -> None:
        self.cpu_s = self.wall_s = 0.0
        self._began = (0.0, 0.0)

    @hookimpl
    def trainer_fit_start(self, state: RunState) -> None:  # noqa: ARG002 - the hook's
        self._began = (time.process_time(), time.perf_counter())

    @hookimpl
    def trainer_evaluation_start(self, state: RunState) -> None:  # noqa: ARG002 - the hook's
        self._note()

    @hookimpl
    def trainer_fit_end(self, state: RunState) -> None:  # noqa: ARG002 - the hook's
        if not self.cpu_s:  # there was no evaluation
            self._note()

    def _note(self) -> None:
        self.cpu_s = time.process_time() - self._began[0]
        self.wall_s = time.perf_counter() - self._began[1]


def _digest(loaded: LoadedExperiment) -> str:
    """Return what tells one experiment from another, wherever its folders are."""
    document = {key: value for key, value in loaded.resolved.data.items() if key != "params"}
    document["run"] = {key: document["run"].get(key) for key in ("seed", "threads")}
    document["data"] = {key: value for key, value in document["data"].items() if key != "root"}
    document["models"] = {
        name: reduce(getitem, plan.section, plan.resolved.data)
        for name, plan in loaded.models.items()
    }
    text = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _count_parameters(experiment: Experiment) -> int:
    parameters = experiment.models.parameters()
    return sum(each.numel() for each in parameters if each.requires_grad)


def _evaluation(loaded: LoadedExperiment) -> Mapping[str, Any]:
    section = loaded.config.evaluation
    return {} if section is None else section.component


def _describe_demonstrations(data: Mapping[str, Any]) -> dict[str, Any]:
    recording = json.loads((Path(data["root"]) / "meta/recording.json").read_text())
    return {key: recording[key] for key in ("episodes", "frames", "noise", "seed")}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
