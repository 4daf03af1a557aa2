"""The kinds of components: their entry-point groups, protocols and what messages call them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ANOTHER_WHEEL",
    "COMPONENT_GROUPS",
    "GROUPS",
    "OWN_COMMANDS",
    "OWN_DISTS",
    "POSITIONS",
    "PROTOCOLS",
    "an",
    "install_hint",
    "near_install_hint",
    "noun",
]

COMPONENT_GROUPS: dict[str, tuple[str, ...]] = {
    "trainer_core.trainers": ("trainer",),
    "trainer_core.datasets": ("data",),
    "trainer_core.io": ("io",),
    "trainer_core.losses": ("loss",),
    "trainer_core.optimizers": ("optim_factory", "optim_cls"),
    "trainer_core.schedulers": ("sched_factory", "sched_cls"),
    "trainer_core.callbacks": ("cb",),
    "trainer_core.loggers": ("log",),
    "trainer_core.metrics": ("metric",),
    "trainer_core.evaluators": ("eval",),
    "trainer_core.runners": ("runner",),
    "trainer_core.initializers": ("init",),
    "policy_constructor.blocks": ("block",),
    "policy_constructor.ops": ("op",),
}
"""Entry-point groups of components; a bare name belongs to the first kind of its group."""

GROUPS: dict[str, tuple[str, ...]] = {
    "trainer_core.commands": ("command",),
    "trainer_core.recipes": ("recipe",),
    "trainer_core.hooks": ("hook",),
}
"""Entry-point groups of what is no component."""

PROTOCOLS = {
    "trainer": "Trainer",
    "data": "DatasetFactory",
    "io": "IOMapping",
    "loss": "LossFactory",
    "optim_factory": "OptimizerFactory",
    "sched_factory": "SchedulerFactory",
    "log": "MetricLogger",
    "metric": "Metric",
    "eval": "Evaluator",
    "runner": "Runner",
    "init": "Initializer",
}
"""The class of `trainer_core.protocols` that a kind keeps to."""

POSITIONS: dict[str, tuple[str, ...]] = {
    "runner": ("runner",),
    "data": ("data",),
    "io": ("io",),
    "loss": ("loss",),
    "optimizer": ("optim_factory", "optim_cls"),
    "scheduler": ("sched_factory", "sched_cls"),
    "trainer": ("trainer",),
    "evaluation": ("eval",),
    "callbacks": ("cb",),
    "loggers": ("log",),
    "metrics": ("metric",),
}
"""The kinds that each section of an experiment file takes."""

OWN_COMMANDS = frozenset({"check", "ckpt", "config", "model", "plugins", "report", "run"})
"""First words of trainer-core's own commands, which no wheel can take."""

OWN_DISTS = frozenset(
    {"experiments-il", "policy-constructor", "trainer-core", "trainer-ddp", "trainer-ray"}
)

_NOUNS = {
    "data": "data set",
    "io": "io mapping",
    "optim_factory": "optimizer",
    "optim_cls": "optimizer",
    "sched_factory": "scheduler",
    "sched_cls": "scheduler",
    "cb": "callback",
    "log": "logger",
    "eval": "evaluator",
    "init": "initialiser",
}

ANOTHER_WHEEL = "it comes with another wheel"
"""How the message about a component begins whose wheel is not installed."""

_OTHER_WHEELS = {
    ("runner", "ddp"): "trainer-ddp",
    ("runner", "ray"): "trainer-ray",
    ("runner", "ray_online"): "trainer-ray",
    ("trainer", "naive_flow_matching_policy_trainer"): "experiments-il",
    ("data", "lerobot"): "experiments-il",
    ("data", "aloha"): "experiments-il",
    ("data", "pusht"): "experiments-il",
    ("data", "metaworld"): "experiments-il",
    ("data", "metaworld_modes"): "experiments-il",
    ("data", "toy_modes"): "experiments-il",
    ("eval", "aloha"): "experiments-il",
    ("eval", "pusht"): "experiments-il",
    ("eval", "metaworld"): "experiments-il",
    ("eval", "metaworld_modes"): "experiments-il",
    ("eval", "toy_modes"): "experiments-il",
    ("loss", "l2"): "experiments-il",
    ("optim_factory", "adamw_warmup_cosine_decay"): "experiments-il",
    ("loss", "l1"): "experiments-il",
    ("loss", "moe_gating"): "experiments-il",
    ("loss", "sinkhorn_knopp"): "experiments-il",
    ("optim_factory", "adamw_cosine_schedule"): "experiments-il",
    ("optim_factory", "schedule_free_radam"): "experiments-il",
    ("block", "small_resnet"): "experiments-il",
    ("block", "state_encoder"): "experiments-il",
    ("block", "info_embedder"): "experiments-il",
    ("block", "transformer_action_decoder"): "experiments-il",
    ("block", "mlp_action_decoder"): "experiments-il",
    ("trainer", "variational_flow_matching_policy_trainer"): "experiments-il",
    ("trainer", "vfp_single_expert_trainer"): "experiments-il",
    ("trainer", "vfp_single_expert_trainer_depth"): "experiments-il",
    ("block", "deterministic_prior"): "experiments-il",
    ("block", "expert_gate"): "experiments-il",
    ("block", "flow_prior"): "experiments-il",
    ("block", "mixture_prior"): "experiments-il",
    ("block", "gaussian_posterior"): "experiments-il",
    ("block", "gaussian_prior"): "experiments-il",
    ("block", "latent_embedder"): "experiments-il",
    ("block", "mlp_expert_decoder"): "experiments-il",
    ("block", "nsvq_codebook"): "experiments-il",
    ("block", "standard_prior"): "experiments-il",
    ("block", "token_posterior"): "experiments-il",
    ("block", "transformer_expert_decoder"): "experiments-il",
    ("trainer", "mutual_information_estimator_trainer"): "experiments-il",
    ("trainer", "cfg_vqvae_flow_matching_trainer_kot"): "experiments-il",
    ("trainer", "regression_policy_trainer"): "experiments-il",
    ("data", "episodic_hdf5"): "experiments-il",
    ("data", "robomimic_hdf5"): "experiments-il",
    ("data", "mixture"): "experiments-il",
    ("data", "zarr_replay"): "experiments-il",
    ("block", "categorical_code_prior"): "experiments-il",
    ("block", "regression_code_prior"): "experiments-il",
    ("block", "state_vae"): "experiments-il",
    ("block", "action_vae"): "experiments-il",
    ("block", "image_vae"): "experiments-il",
    ("block", "color_jitter"): "experiments-il",
    ("block", "depth_anything"): "experiments-il",
    ("block", "kornia"): "experiments-il",
    ("block", "vision_backbone"): "experiments-il",
    ("block", "random_crop"): "experiments-il",
    ("block", "random_shift"): "experiments-il",
}


def noun(kind: str) -> str:
    """Return what messages call a component of a kind."""
    return _NOUNS.get(kind, kind)


def an(word: str) -> str:
    """Return a word with its indefinite article."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def install_hint(key: str, kinds: Sequence[str]) -> str:
    """Return how to install the wheel of ours that brings a component; empty if none does."""
    for kind in kinds:
        wheel = _OTHER_WHEELS.get((kind, key))
        if wheel:
            return f"{ANOTHER_WHEEL}: pip install '{wheel}'"
    return ""


def near_install_hint(key: str, kinds: Sequence[str], installed: Sequence[str]) -> str:
    """Return the same for the nearest spelling of a name, unless an installed one is nearer.

    Args:
        key: The misspelt name.
        kinds: The kinds that its position takes.
        installed: The names that those kinds have here.
    """
    wheels = {name: wheel for (kind, name), wheel in _OTHER_WHEELS.items() if kind in kinds}
    missing = wheels.keys() - set(installed)
    near = nearest(key, [*installed, *missing], 1) if missing else ()
    if not near or near[0] not in missing:
        return ""
    return f"{near[0]!r} comes with another wheel: pip install '{wheels[near[0]]}'"
