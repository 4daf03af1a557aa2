"""Trains policies on tasks with several equally good ways, and counts the ways they take.

A row is a JSON file of its own in the work folder. It is kept as long as the overrides of its
recipe stay the same, so a table of many rows can be interrupted and finished later.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from benchmarks.trained_policies import commit

from experiments_il.data.toy_modes import mode_of, share_modes
from experiments_il.flow import integrate
from experiments_il.loading import find_policy, open_policy
from experiments_il.sim.modes import MetaWorldModesEvaluator
from trainer_core.protocols import EvaluationContext
from trainer_core.run import run

if TYPE_CHECKING:
    from pathlib import Path

    from experiments_il.loading import LoadedPolicy

__all__ = ["SAMPLING_STEPS", "Job", "measure", "metaworld_jobs", "toy_jobs"]

SAMPLING_STEPS = (1, 2, 10)
_EVALUATION_SEED = 1000
_REGRESSION = (
    (
        "trainer={_merge_: replace, _type_: regression_policy_trainer, "
        "max_steps: '${params.steps}', log_every_n_steps: 100, grad_clip_norm: 1.0, "
        "n_action_steps: 8}"
    ),
)
_TRANSPORT = ("loss={_type_: sinkhorn_knopp, group: 64, state_weight: 0.2, backend: exact}",)
_NO_INFORMATION = ("trainer.gate_information_weight=0.0",)
_STANDARD = (
    "models.prior={_merge_: replace, config: il/models/standard_prior, params: {latent_dim: 2}}",
)
_FM, _VFP, _CFG = (f"il/toy_{name}_small" for name in ("flow_matching", "vfp", "cfg_vqvae"))
_FOUR = ("params.modes=4", "params.experts=4", "params.latent_dim=4")

_TOY: dict[str, tuple[str, tuple[str, ...]]] = {
    "regression": (_FM, _REGRESSION),
    "flow matching": (_FM, ()),
    "VFP": (_VFP, ()),
    "VFP, with transport": (_VFP, _TRANSPORT),
    "CFG-VQ-VAE": (_CFG, ()),
}
_CONTROLS: dict[str, tuple[str, tuple[str, ...]]] = {
    "VFP, no gate information": (_VFP, _NO_INFORMATION),
    "VFP, mixture_prior": (_VFP, ("models.prior.config=il/models/mixture_prior",)),
    "VFP, gaussian_prior": (_VFP, ("models.prior.config=il/models/gaussian_prior",)),
    "VFP, deterministic_prior": (_VFP, ("models.prior.config=il/models/deterministic_prior",)),
    "VFP, standard_prior, beta 0.1": (_VFP, (*_STANDARD, "trainer.beta=0.1")),
    "VFP, standard_prior, beta 0.001, no gate information": (
        _VFP,
        (*_STANDARD, *_NO_INFORMATION, "trainer.beta=0.001"),
    ),
    "CFG-VQ-VAE, regression_code_prior": (
        _CFG,
        (
            (
                "models.prior={_merge_: replace, config: il/models/regression_code_prior, params: "
                "{latent_dim: '${params.latent_dim}', width: '${params.width}'}}"
            ),
        ),
    ),
}
_CHUNKS = ("params.horizon=16", "trainer.n_action_steps=8")
_METAWORLD: dict[str, tuple[str, tuple[str, ...]]] = {
    "flow matching": ("il/pick_place", ()),
    "VFP": (
        "il/vfp_small",
        ("trainer.beta=0.001", "models.prior.config=il/models/mixture_prior"),
    ),
    "CFG-VQ-VAE": ("il/cfg_vqvae_small", ()),
    "regression": ("il/regression_small", ()),
    "flow matching, 7000 steps": ("il/pick_place", ("params.steps=7000",)),
    "VFP, flow_prior": ("il/vfp_small", ("trainer.beta=0.001",)),
}


@dataclass(frozen=True)
class Job:
    """One training and its measurements.

    Attributes:
        part: `toy`, `metaworld-both` or `metaworld-either`.
        policy: What the table calls it.
        task: `2` or `4` modes, or a Meta-World name.
        seed: Of the training; data and evaluation are the same for all.
        recipe: Its recipe.
        overrides: What is changed in it.
        episodes: Of the evaluation in Meta-World.
    """

    part: str
    policy: str
    task: str
    seed: int
    recipe: str
    overrides: tuple[str, ...] = ()
    episodes: int = 50

    @property
    def name(self) -> str:
        """What files of this job are called."""
        words = f"{self.part} {self.task} {self.policy} seed {self.seed}"
        return "-".join(words.replace(",", "").split())


def toy_jobs(seeds: list[int]) -> list[Job]:
    """Return the jobs of the toys; controls have two modes and the first seed only."""
    jobs = []
    for seed in seeds:
        for policy, (recipe, overrides) in _TOY.items():
            jobs.append(Job("toy", policy, "2", seed, recipe, overrides))
            four = _FOUR if recipe == _VFP else _FOUR[:1]
            jobs.append(Job("toy", policy, "4", seed, recipe, (*four, *overrides)))
    jobs += [
        Job("toy", policy, "2", seeds[0], recipe, overrides)
        for policy, (recipe, overrides) in _CONTROLS.items()
    ]
    return jobs


def metaworld_jobs(
    part: str, seeds: list[int], tasks: list[str], episodes: int, work: Path
) -> list[Job]:
    """Return the jobs in Meta-World: each policy on each task, trained on the same episodes.

    Args:
        part: `metaworld-both`: each goal is demonstrated both ways; `metaworld-either`: one way
            each, by chance.
        seeds: Of the trainings.
        tasks: Meta-World names.
        episodes: Of each evaluation.
        work: Folder of the demonstrations.
    """
    jobs = []
    for seed in seeds:
        for task in tasks:
            data = _both_ways(task, work) if part == "metaworld-both" else _either_way(task, work)
            common = (f"params.task={task}", "params.steps=3000", data, "evaluation=null", *_CHUNKS)
            jobs += [
                Job(part, policy, task, seed, recipe, (*common, *changes), episodes)
                for policy, (recipe, changes) in _METAWORLD.items()
            ]
    return jobs


_WINDOWS = (
    "windows: {action: [0, '${params.horizon}']}, keys: [observation.state], "
    "normalize: {observation.state: mean_std, action: min_max}"
)


def _either_way(task: str, work: Path) -> str:
    return (
        "data={_merge_: replace, _type_: metaworld_modes, task: '${params.task}', "
        f"root: {work}/demonstrations/two-ways-{task}, episodes: 50, noise: 0.1, seed: 0, "
        f"{_WINDOWS}, batch_size: 128}}"
    )


def _both_ways(task: str, work: Path) -> str:
    sides = ", ".join(
        f"{side}: {{_type_: data.metaworld_modes, task: {task}, expert: {side}, "
        f"root: {work}/demonstrations/{side}-{task}, episodes: 50, noise: 0.1, seed: 0, "
        f"{_WINDOWS}}}"
        for side in ("left", "right")
    )
    return f"data={{_merge_: replace, _type_: mixture, datasets: {{{sides}}}, batch_size: 128}}"


def measure(job: Job, work: Path) -> dict[str, Any]:
    """Return the row of a job: the kept one, or a new one that is then kept."""
    path = work / "rows" / f"{job.name}.json"
    request = [job.recipe, *job.overrides, job.episodes]
    if path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept["request"] == request:
            return kept
    out = work / "runs" / job.name
    shutil.rmtree(out, ignore_errors=True)
    began, cpu = time.perf_counter(), time.process_time()
    result = run(job.recipe, [*job.overrides, f"run.out_dir={out}", f"run.seed={job.seed}"])
    assert result.status == "completed"
    training_s, training_cpu_s = time.perf_counter() - began, time.process_time() - cpu
    loaded = open_policy(find_policy(out))
    row = {
        "part": job.part,
        "policy": job.policy,
        "task": job.task,
        "seed": job.seed,
        "request": request,
        "training_steps": result.step,
        "training_s": round(training_s, 1),
        "training_cpu_s": round(training_cpu_s, 1),
        "commit": commit(),
        "torch": torch.__version__,
    }
    if job.part == "toy":
        found = json.loads(next(out.glob("evaluation/*/modes.json")).read_text(encoding="utf-8"))
        row |= {"steps": found["steps"], "samples": found["samples"], "gate": _gate(loaded, job)}
    else:
        row |= {"steps": _play(loaded, job, out), "samples": job.episodes}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    return row


def _play(loaded: LoadedPolicy, job: Job, out: Path) -> dict[str, Any]:
    """Return what an evaluation with each number of sampling steps finds."""
    found: dict[str, Any] = {}
    policy: Any = loaded.policy
    integrates = hasattr(policy, "num_inference_steps")
    for steps in SAMPLING_STEPS:
        if integrates:
            policy.num_inference_steps = steps
        elif found:
            found[str(steps)] = found[str(SAMPLING_STEPS[0])]
            continue
        evaluator = MetaWorldModesEvaluator(
            job.task, job.episodes, seed=_EVALUATION_SEED, num_envs=10, video_episodes=0
        )
        trainer = SimpleNamespace(policy=lambda _normalizer: loaded.policy)
        folder = out / "evaluation" / f"{steps}-steps"
        context = EvaluationContext(
            trainer, loaded.models, loaded.normalizer, torch.device("cpu"), 0, folder, 0, True
        )
        result = evaluator.evaluate(context)
        lines = (folder / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
        found[str(steps)] = {
            "solved": [json.loads(line)["success"] for line in lines],
            "ways": list(json.loads((folder / "modes.json").read_text("utf-8")).values()),
            "off_mode": result["off_mode"],
            "least_mode": result["least_mode"],
            "entropy": result["mode_entropy"],
            "seconds": round(result["seconds"], 1),
        }
    return found


@torch.no_grad()
def _gate(loaded: LoadedPolicy, job: Job, count: int = 2000) -> dict[str, Any] | None:
    """Return how sure and how even the gate is, and what another expert than its choice does."""
    trainer = loaded.trainer
    if "gate" not in loaded.models:
        return None
    generator = torch.Generator().manual_seed(7)
    modes = int(job.task)
    memory = trainer.encode({"observation.state": torch.zeros(count, 1, 1)})
    noise = torch.randn(count, trainer.latent_dim, generator=generator)
    z = trainer.models["prior"].sample(memory, noise)
    share = torch.softmax(trainer.models["gate"](memory, z), dim=-1)
    chosen, experts = share.argmax(dim=-1), share.shape[1]
    cache = trainer.decoder.cache(trainer._with_latent(memory, z))  # noqa: SLF001 - what act does
    start = torch.randn(count, trainer.decoder.horizon, 2, generator=generator)
    rows = torch.arange(count)
    off: dict[str, dict[str, float]] = {"chosen": {}, "other": {}}
    for name, which in (("chosen", chosen), ("other", (chosen + 1) % experts)):
        for steps in SAMPLING_STEPS:
            ends = integrate(
                lambda x, t, which=which: trainer.decoder.step(x, t, cache)[rows, which],  # type: ignore[misc]
                start,
                steps=steps,
            )
            off[name][str(steps)] = share_modes(mode_of(ends, modes), modes).off_mode  # type: ignore[arg-type]
    return {
        "certainty": float(share.max(dim=-1).values.mean()),
        "use": (torch.bincount(chosen, minlength=experts) / count).tolist(),
        "off_mode": off,
    }
