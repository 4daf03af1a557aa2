"""What is refused before an actor starts, with its place in the file."""

from __future__ import annotations

import logging
import math
import os
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from policy_constructor.config.node import to_plain
from policy_constructor.errors import ConfigError
from trainer_core.instantiate import instantiate, placed
from trainer_core.online import EpisodeSource, OnlineData
from trainer_ray.online.file_checks import file_faults, online_samples
from trainer_ray.online.mixed_data import Proportions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy_constructor.config import Key
    from trainer_core.engine.built import Experiment
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_ray.online.options import Options

__all__ = [
    "describe_rollouts",
    "proportions_of",
    "require_parts",
    "require_sections",
    "tell_memory",
]

_log = logging.getLogger(__name__)

_SEEDS_APART = 1_000_000
_BOOKKEEPING_BYTES = 16  # of a frame, beside its keys


def require_sections(loaded: LoadedExperiment, options: Options) -> None:
    """Refuse a file that cannot be learned from online, whatever its components are.

    `trainer check` has said the same, unless a hook plugin has chosen the runner.

    Raises:
        ConfigError: It cannot; the messages say which keys.
    """
    found = list(file_faults(options, to_plain(loaded.resolved.root)))
    if found:
        raise ConfigError([loaded.resolved.problem(place, message) for place, message in found])


def require_parts(built: Experiment, loaded: LoadedExperiment) -> None:
    """Refuse a data set or an evaluator that cannot be learned from online.

    Raises:
        ConfigError: One of them cannot; the message says what it lacks.
    """
    if not isinstance(built.dataset, OnlineData):
        name = loaded.config.data.component["_type_"]
        message = (
            f"runner ray_online cannot mix new episodes with {name}: its data set "
            f"{type(built.dataset).__name__} is no trainer_core.online.OnlineData "
            f"(it has no {_missing(built.dataset, OnlineData)})"
        )
        _refuse(loaded, ("data",), message)
    if not isinstance(built.evaluator, EpisodeSource):
        name = (built.evaluation_settings or {}).get("_type_")
        message = (
            f"runner ray_online needs an evaluator that plays without end; {name} is no "
            "trainer_core.online.EpisodeSource (it has no collect)"
        )
        _refuse(loaded, ("evaluation",), message)


def describe_rollouts(
    built: Experiment, loaded: LoadedExperiment, options: Options
) -> dict[str, Any]:
    """Return the spec of the evaluator that rollout workers play, after making it once.

    Raises:
        ConfigError: A key of `runner.rollout` is none of the evaluator's.
    """
    spec = {**(built.evaluation_settings or {}), **options.rollout}
    seed = getattr(built.evaluator, "seed", None)
    if "seed" not in options.rollout and isinstance(seed, int):
        spec["seed"] = seed + _SEEDS_APART
    with placed(loaded.resolved, "runner", "rollout"):
        instantiate(spec, loaded.plugins, kind="eval")
    return spec


def proportions_of(loaded: LoadedExperiment, options: Options) -> Proportions:
    """Return how batches are shared out."""
    batch = loaded.config.data.batch_size
    return Proportions(batch, online_samples(batch, options.online_share), options.offline_steps)


def tell_memory(dataset: OnlineData, options: Options) -> None:
    """Warn of a buffer that this machine cannot hold once it is full; it grows until then."""
    frame = _BOOKKEEPING_BYTES + sum(
        math.prod(key.shape) * np.dtype(key.dtype).itemsize for key in dataset.episode_keys.values()
    )
    wanted, there = (
        options.capacity * frame,
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
    )
    if wanted > there:
        _log.warning(
            "runner.capacity: %d frames take %.0f GB once they are there; this machine has %.0f",
            options.capacity,
            wanted / 1e9,
            there / 1e9,
        )


def _missing(dataset: Any, protocol: type) -> str:
    names: Mapping[str, Any] = vars(protocol)
    own = [name for name in names if not name.startswith("_") and not hasattr(dataset, name)]
    return " and no ".join(own)


def _refuse(loaded: LoadedExperiment, path: tuple[Key, ...], message: str) -> NoReturn:
    raise ConfigError(loaded.resolved.problem(path, message))
