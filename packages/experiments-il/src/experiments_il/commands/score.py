"""`trainer data score`: rank the episodes of a data set by what a policy can learn from them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from trainer_core.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from experiments_il.mutual_information import EpisodeScore
    from policy_constructor.discovery.component import ComponentRef

__all__ = ["check_options", "score_run", "write_scores"]

_EPISODE = "episode_index"
_BATCH = 512
_WANTED = "episodes are scored by a run of mutual_information_estimator_trainer"
_ESTIMATOR = "mutual_information_estimator_trainer"
_OURS = frozenset({"experiments-il", "trainer-core"})


def score_run(
    run: Path, *, passes: int = 4, batch: int = 4096, seed: int = 0
) -> list[EpisodeScore]:
    """Return the scores of the episodes that a run was trained on, best first.

    Args:
        run: Run folder of `mutual_information_estimator_trainer`; its newest checkpoint is used.
        passes: Shuffles of the frames.
        batch: About how many frames are compared with one another.
        seed: Of the shuffles.

    Raises:
        TrainerError: There is no checkpoint, it is of another trainer, or the data cannot be read.
    """
    check_run(run)
    import torch

    from experiments_il.mutual_information import score_episodes

    experiment = _load(run)
    firsts, seconds, episodes = [], [], []
    for data in _batches(experiment):
        if _EPISODE not in data:
            message = f"the batches have no {_EPISODE}: add it to data.keys of the experiment"
            raise UserError(message)
        first, second = experiment.trainer.embed(data)
        firsts.append(first.cpu())
        seconds.append(second.cpu())
        episodes.append(data[_EPISODE].flatten().cpu())
    return score_episodes(
        torch.cat(firsts),
        torch.cat(seconds),
        torch.cat(episodes),
        batch=batch,
        passes=passes,
        seed=seed,
    )


def check_run(run: Path) -> None:
    """Check that a folder is a run of the estimator, before torch is imported.

    Raises:
        UserError: It is not there, has no checkpoint, or was trained by something else.
    """
    from experiments_il.data.near_paths import missing_data_hint
    from trainer_core.checkpoint.layout import list_steps

    if not run.exists():
        message = f"{run}: no such folder; give the folder of a run{missing_data_hint(run)}"
        raise UserError(message)
    steps = list_steps(run / "checkpoints")
    if not steps:
        message = f"{run} has no checkpoint; give the folder of a run"
        raise UserError(message)
    trainer = _trainer_of(steps[0][1])
    if trainer is not None and trainer.dist in _OURS and trainer.key != _ESTIMATOR:
        message = f"{run} was trained by {trainer.key}; {_WANTED}"
        raise UserError(message)


def _trainer_of(checkpoint: Path) -> ComponentRef | None:
    """Return what the file says trained a checkpoint; None if that cannot be told."""
    from policy_constructor.config import resolve_config
    from policy_constructor.discovery.errors import RegistryError
    from policy_constructor.errors import ConfigError
    from trainer_core.discovery.plugins import discover

    try:
        resolved = resolve_config(checkpoint / "config.resolved.yaml", strict=False)
        trainer = resolved.node("trainer", "_type_")
        return None if trainer is None else discover().find(str(trainer.value), ("trainer",))
    except (ConfigError, RegistryError):
        return None


def check_options(keep: float, passes: int = 1) -> None:
    """Check options before anything is computed.

    Raises:
        UserError: `keep` is not a share, or there are no passes.
    """
    if not 0 < keep <= 1:
        message = f"--keep must be above 0 and at most 1, got {keep:g}"
        raise UserError(message)
    if passes < 1:
        message = f"--passes must be at least 1, got {passes}"
        raise UserError(message)


def write_scores(scores: list[EpisodeScore], out: Path, keep: float) -> list[int]:
    """Write `scores.json`; return the numbers of the best episodes, in their order in the data.

    Args:
        scores: Best first.
        out: The file.
        keep: Share of the episodes to keep, above 0.

    Raises:
        UserError: `keep` is not a share.
        StorageError: The disk refuses.
    """
    from trainer_core.storage import write_atomically

    check_options(keep)
    kept = sorted(each.episode for each in scores[: max(1, round(keep * len(scores)))])
    document = {"episodes": [asdict(each) for each in scores], "keep": kept}
    write_atomically(out, json.dumps(document, indent=1) + "\n")
    return kept


def _load(run: Path) -> Any:
    """Return the built experiment of a run, with the weights of its newest checkpoint."""
    from experiments_il.trainers.mutual_information import MutualInformationEstimatorTrainer
    from trainer_core.checkpoint.reader import newest_valid
    from trainer_core.engine.build import build_experiment
    from trainer_core.experiment.loading import load_experiment
    from trainer_core.ranks import LocalRanks
    from trainer_core.weights import load_state_strictly

    checkpoint = newest_valid(run / "checkpoints", quarantine=False)
    if checkpoint is None:
        message = f"{run} has no checkpoint; give the folder of a run"
        raise UserError(message)
    config = str(checkpoint.path / "config.resolved.yaml")
    loaded = load_experiment(config, ["evaluation=null"], runner="local")
    experiment = build_experiment(loaded, LocalRanks())
    if not isinstance(experiment.trainer, MutualInformationEstimatorTrainer):
        message = f"{run} was trained by {type(experiment.trainer).__name__}; {_WANTED}"
        raise UserError(message)
    for name, module in experiment.models.items():
        state = checkpoint.read_tensors(f"model.{name}.safetensors")
        load_state_strictly(module, state, component=name, origin=str(checkpoint.path))
    experiment.models.eval()
    return experiment


def _batches(experiment: Any) -> Any:
    """Yield the data set in order, normalised, on the device."""
    import numpy as np

    from trainer_core.loader import make_reader
    from trainer_core.tree import move_to_device

    read = make_reader(experiment.dataset, experiment.seed)
    for start in range(0, len(experiment.dataset), _BATCH):
        rows = np.arange(start, min(start + _BATCH, len(experiment.dataset)))
        yield experiment.normalizer.normalize(move_to_device(read(rows, start), experiment.device))
