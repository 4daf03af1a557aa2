"""Plays the newest policy in a simulator, and sends the replay buffer every episode."""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import torch
from ray.exceptions import RayError

from trainer_core.engine.trained import build_acting
from trainer_core.errors import TrainerError, UserError
from trainer_core.experiment.loading import load_experiment
from trainer_core.instantiate import instantiate
from trainer_core.online import EpisodeSource
from trainer_core.protocols import EvaluationContext
from trainer_core.seeding import set_global_seed
from trainer_ray.mailbox import NAMESPACE
from trainer_ray.online.client import ReplayClient
from trainer_ray.online.packed_weights import load_weights
from trainer_ray.software import require_same_software

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.online import Episode

__all__ = ["NewestWeights", "RolloutWorker"]

_log = logging.getLogger(__name__)

_EPISODES_OF_A_WORKER = 1 << 32  # numbers of episodes from one worker's first to the next one's
_ANSWER_S = 30.0
_BUFFER_S = 600.0  # a large one reads all it has when it starts again
_FIRST_WEIGHTS_S = 300.0
_PAUSE_S = 0.2


class RolloutWorker:
    """One process that plays; it takes newer weights between two episodes.

    Args:
        spec: Plain data. `text`: the resolved experiment; `norm_stats`: statistics of its data set;
            `evaluator`: what is played, as in `evaluation:`; `producer`: name of this worker, and
            `number` its place among the others; `replay_buffer` and `policy_state_manager`: names
            of the actors; `out_dir` and `seed` of the run; `software`: what is installed
            where it started.

    Raises:
        ConfigError: A component is not installed here.
        UserError: Other software is, or the evaluator does not play for the sake of episodes.
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        torch.set_num_threads(1)  # as many workers as cores play side by side
        loaded = _load(spec["text"])
        require_same_software(spec["software"], loaded)
        self._spec = spec
        self._source = _make_source(spec["evaluator"], loaded)
        acting = build_acting(loaded.resolved, spec["norm_stats"])
        self._weights = NewestWeights(
            acting.models, spec["policy_state_manager"], str(spec["producer"])
        )
        self._context = EvaluationContext(
            trainer=acting.trainer,
            models=acting.models,
            normalizer=acting.normalizer,
            device=torch.device("cpu"),
            step=0,
            out_dir=Path(spec["out_dir"]) / "rollouts" / str(spec["producer"]),
            seed=int(spec["seed"]),
            final=False,
        )
        self._client = ReplayClient(
            str(spec["producer"]), name=spec["replay_buffer"], patience_s=_BUFFER_S
        )

    def run(self) -> None:
        """Play without end, from where an earlier process of this name was killed.

        Raises:
            UserError: The policy does not fit what is played.
            TrainerError: The simulator breaks down every time, or an actor does not answer.
        """
        self._weights.wait()
        number = int(self._spec["number"])
        set_global_seed(int(self._spec["seed"]) + 1 + number)
        first = number * _EPISODES_OF_A_WORKER + self._client.last_number + 1
        self._source.collect(self._context, self._send, first=first)

    def _send(self, episode: Episode) -> None:
        """Add an episode, then look for newer weights."""
        sent = {
            "columns": dict(episode.columns),
            "success": episode.success,
            "version": self._weights.version,
            "error": episode.error,
        }
        for refused in self._client.add([sent])["refused"]:
            if not episode.error:
                _log.warning("the replay buffer refused an episode: %s", refused["reason"])
        self._weights.refresh()
        self._context.step = max(0, self._weights.version)


class NewestWeights:
    """Models whose weights follow the learner's, in place.

    Args:
        models: The components.
        manager: Name of the policy state manager's actor.
        worker: Who asks.

    Attributes:
        version: Optimizer steps that the weights have seen; -1: there are none yet.
    """

    def __init__(self, models: nn.ModuleDict, manager: str, worker: str) -> None:
        self.version = -1
        self._models = models
        self._manager = manager
        self._worker = worker

    def wait(self, limit_s: float = _FIRST_WEIGHTS_S) -> None:
        """Wait for the first weights, unless they are there.

        Raises:
            TrainerError: There were none in that time, in seconds, or those of another model.
        """
        deadline = time.monotonic() + limit_s
        while self.version < 0 and not self.refresh():
            if time.monotonic() > deadline:
                msg = f"{self._manager!r} has had no weights for {limit_s:g} s"
                raise TrainerError(msg)
            time.sleep(_PAUSE_S)

    def refresh(self) -> bool:
        """Load newer weights if there are any; while nobody answers, those at hand go on.

        Returns:
            Whether there are newer weights now.

        Raises:
            TrainerError: They are those of another model.
        """
        try:
            manager: Any = ray.get_actor(self._manager, namespace=NAMESPACE)
            question: Any = manager.newest.remote(self.version, worker=self._worker)
            newest = ray.get(question, timeout=_ANSWER_S)
            if newest is None:
                return False
            load_weights(self._models, newest["layers"])
        except (ValueError, RayError) as error:  # it restarts, or there are newer ones already
            _log.info("no newer weights from %s: %s", self._manager, error)
            return False
        self.version = int(newest["version"])
        return True


def _load(text: str) -> LoadedExperiment:
    with tempfile.TemporaryDirectory(prefix="trainer-ray-") as folder:
        file = Path(folder) / "config.resolved.yaml"
        file.write_text(text, encoding="utf-8")
        return load_experiment(file, hooks=True)


def _make_source(spec: Mapping[str, Any], loaded: LoadedExperiment) -> EpisodeSource:
    source = instantiate(dict(spec), loaded.plugins, kind="eval")
    if not isinstance(source, EpisodeSource):
        msg = (
            f"runner ray_online: the evaluator {type(source).__name__} does not play for the sake "
            "of episodes (it has no method 'collect'); name one that does in 'evaluation'"
        )
        raise UserError(msg)
    return source
