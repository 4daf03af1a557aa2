"""An exported policy that acts: what evaluators and robots call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy_constructor.exported import load_export
from trainer_core.discovery.plugins import discover
from trainer_core.errors import UserError
from trainer_core.experiment.schema import TrainerSection
from trainer_core.instantiate import instantiate
from trainer_core.normalize import Normalizer

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from experiments_il.policy import Policy

__all__ = ["load_policy"]


def load_policy(folder: str | Path, *, device: torch.device | str = "cpu") -> Policy:
    """Load what `trainer ckpt export` wrote, as a policy that turns observations into chunks.

    The trainer that the policy was trained with puts the components together; it trains nothing.

    Args:
        folder: The exported folder.
        device: Where the models are put.

    Raises:
        ConfigError: The folder is no export, or not as it was written.
        UserError: The trainer has no policy.
    """
    exported = load_export(folder, device=device)
    plugins = discover()
    engine = TrainerSection.engine_keys()
    section = exported.about.get("trainer") or {}
    spec = {key: value for key, value in section.items() if key not in engine}
    loss = exported.about.get("loss")
    supplied: dict[str, Any] = {"models": exported.models, "optimizers": {}, "device": device}
    supplied["loss"] = None if loss is None else instantiate(loss, plugins, kind="loss").build()
    trainer = instantiate(spec, plugins, kind="trainer", **supplied)
    if not hasattr(trainer, "policy"):
        msg = f"{folder} was trained with {spec['_type_']}, which has no policy(normalizer)"
        raise UserError(msg)
    policy: Policy = trainer.policy(Normalizer(exported.norm_stats).to(device))
    return policy
