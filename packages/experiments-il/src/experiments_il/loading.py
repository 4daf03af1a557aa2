"""A run, a checkpoint or an exported folder -> a policy that acts: what evaluators and robots call.

Every file is held against its recorded hash before it is used, and nothing is unpickled.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from policy_constructor.exported import ABOUT, load_export, read_about
from policy_constructor.spelling import did_you_mean, nearest
from trainer_core.checkpoint.layout import MANIFEST, NewerFormatError, list_steps
from trainer_core.checkpoint.reader import Checkpoint, find_checkpoint, open_checkpoint
from trainer_core.engine.trained import (
    build_acting_trainer,
    load_trained,
    read_experiment,
    restricted_plugins,
)
from trainer_core.errors import CheckpointError, UserError
from trainer_core.normalize import Normalizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import nn

    from experiments_il.policy import Policy

__all__ = ["LoadedPolicy", "PolicySource", "find_policy", "load_policy", "open_policy"]

_LOG = logging.getLogger(__name__)
_PROGRAM = "program.json"


@dataclass(frozen=True)
class PolicySource:
    """Where a policy is, and the experiment that it comes from; nothing of it is built.

    Attributes:
        folder: The checkpoint's or the export's folder.
        config: Sections of the experiment file, as plain data; of an export only some.
        checkpoint: The verified checkpoint; None for an export, which is verified when opened.
        run: The run's folder; None if the policy lies in none.
    """

    folder: Path
    config: Mapping[str, Any]
    checkpoint: Checkpoint | None
    run: Path | None


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy, and what it was made of.

    Attributes:
        policy: What acts.
        trainer: The trainer that puts its components together; it has no optimizers.
        models: The components by name, in eval mode.
        normalizer: Statistics of the data set.
        step: Optimizer steps of its training.
        weights: `ema`, `averaged` (by the optimizer) or `trained`.
        source: Where it is.
    """

    policy: Policy
    trainer: Any
    models: nn.ModuleDict
    normalizer: Normalizer
    step: int
    weights: str
    source: PolicySource


def load_policy(
    path: str | Path,
    device: torch.device | str = "cpu",
    *,
    checkpoint: str | int = "newest",
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> Policy:
    """Load a policy that turns observations into chunks of actions.

    It has the weights that an evaluation during training measures: averaged ones where the run
    averages.

    Args:
        path: A run's folder, a checkpoint's, or one that `trainer ckpt export` wrote; after a
            run's folder also `@best` or `@STEP`.
        device: Where the models are put.
        checkpoint: Which one of a run: `newest` (that is whole), `best`, or a step.
        parameters: Parameters of the trainer that are to be other than in training, such as
            `{"num_inference_steps": 4}`.

    Raises:
        CheckpointError: The folder is none of these, or something in it is not as it was written.
        ConfigError: A component of the policy is not installed, or refuses a value.
        UserError: The trainer has no policy.
    """
    return open_policy(find_policy(path, checkpoint), device, parameters).policy


def find_policy(path: str | Path, checkpoint: str | int = "newest") -> PolicySource:
    """Find what `load_policy` loads, and verify a checkpoint; arguments and errors as there."""
    folder, which = _parse(path, checkpoint)
    if (folder / ABOUT).is_file():
        _require_alone(folder, which, "an exported policy")
        return PolicySource(folder, read_about(folder), None, None)
    found = _find(folder, which)
    inside = found.path.parent
    run = inside.parent if inside.name == "checkpoints" else None
    return PolicySource(found.path, read_experiment(found).data, found, run)


def open_policy(
    source: PolicySource,
    device: torch.device | str = "cpu",
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> LoadedPolicy:
    """Build a policy that was found, with what it is made of; errors as `load_policy`.

    Args:
        source: What `find_policy` returned.
        device: Where the models are put.
        parameters: Parameters of the trainer that are to be other than in training.
    """
    if source.checkpoint is None:
        return _open_export(source, device, parameters)
    trained = load_trained(source.checkpoint, device=device, parameters=parameters)
    return LoadedPolicy(
        _policy_of(trained.trainer, trained.normalizer, source),
        trained.trainer,
        trained.models,
        trained.normalizer,
        trained.step,
        trained.weights,
        source,
    )


def _parse(path: str | Path, checkpoint: str | int) -> tuple[Path, str]:
    """Return the folder and which of its checkpoints is meant."""
    folder, which = Path(path).expanduser(), str(checkpoint)
    name, mark, said = folder.name.rpartition("@")
    if mark and name and not folder.exists():
        folder, which = folder.with_name(name), said
    if which not in {"newest", "best"} and not which.isdecimal():
        near = did_you_mean(nearest(which, ("newest", "best")))
        msg = f"there is no checkpoint {which!r}; say newest, best or a step{near}"
        raise UserError(msg)
    return folder, which


def _find(folder: Path, which: str) -> Checkpoint:
    if not folder.is_dir():
        there = [entry.name for entry in folder.parent.iterdir()] if folder.parent.is_dir() else []
        near = did_you_mean(str(folder.with_name(name)) for name in nearest(folder.name, there))
        msg = f"there is no folder {folder}{near}"
        raise CheckpointError(msg)
    if (folder / MANIFEST).exists():
        _require_alone(folder, which, "a checkpoint")
        return open_checkpoint(folder)
    if (folder / _PROGRAM).is_file():
        msg = (
            f"{folder} is an exported program, which trainer serve runs; give the run or the "
            "checkpoint that it was made from"
        )
        raise CheckpointError(msg)
    root = folder if list_steps(folder) else folder / "checkpoints"
    if not list_steps(root):
        msg = (
            f"{folder} is neither a run with checkpoints (checkpoints/step-*), nor a checkpoint "
            f"({MANIFEST}), nor an exported policy ({ABOUT})"
        )
        raise CheckpointError(msg)
    if which == "newest":
        return _newest(root)
    found = find_checkpoint(root, which)
    assert found is not None
    return found


def _require_alone(folder: Path, which: str, kind: str) -> None:
    if which != "newest":
        msg = f"{folder} is {kind}, not a run: leave out which checkpoint ({which})"
        raise UserError(msg)


def _newest(root: Path) -> Checkpoint:
    """Return the newest whole checkpoint; a damaged one is passed over, and said."""
    problems = []
    for _, folder in list_steps(root):
        try:
            found = open_checkpoint(folder)
        except NewerFormatError:
            raise
        except CheckpointError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            _LOG.warning("not the newest checkpoint, but %s: %s", found.path.name, problem)
        return found
    listed = "".join(f"\n  {problem}" for problem in problems)
    msg = f"no checkpoint in {root} is whole:{listed}"
    raise CheckpointError(msg)


def _open_export(
    source: PolicySource, device: torch.device | str, parameters: Mapping[str, Any]
) -> LoadedPolicy:
    exported = load_export(source.folder, device=device)
    about = exported.about
    plugins = restricted_plugins(about)
    trainer = build_acting_trainer(about, exported.models, device, plugins, parameters)
    exported.models.eval()  # a trainer may have added components
    normalizer = Normalizer(exported.norm_stats).to(device)
    return LoadedPolicy(
        _policy_of(trainer, normalizer, source),
        trainer,
        exported.models,
        normalizer,
        int(about.get("step") or 0),
        str(about.get("weights", "trained")),
        source,
    )


def _policy_of(trainer: Any, normalizer: Normalizer, source: PolicySource) -> Policy:
    if not hasattr(trainer, "policy"):
        name = (source.config.get("trainer") or {}).get("_type_")
        msg = f"{source.folder} was trained with {name}, which has no policy(normalizer)"
        raise UserError(msg)
    policy: Policy = trainer.policy(normalizer)
    return policy
