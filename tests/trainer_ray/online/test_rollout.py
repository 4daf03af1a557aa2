"""A rollout worker plays, sends, follows the weights, and goes on after its death."""

from __future__ import annotations

import logging
import shutil
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import ray
import torch
from ray.exceptions import RayActorError
from tests.trainer_ray.online import walks as walks_source

from trainer_core.engine.runfolder import resolved_yaml
from trainer_core.engine.trained import build_acting
from trainer_core.errors import TrainerError, UserError
from trainer_core.experiment.loading import load_experiment
from trainer_ray.mailbox import NAMESPACE
from trainer_ray.online.hosting import RolloutHost
from trainer_ray.online.packed_weights import Packer, named_tensors
from trainer_ray.online.policy_state import PolicyStateManager
from trainer_ray.online.replay_buffer import ReplayBuffer
from trainer_ray.online.rollout import NewestWeights, RolloutWorker
from trainer_ray.software import describe_software

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT_S = 60


class Learner:
    """What the learner has: a buffer, a manager, and an experiment that workers are made from."""

    def __init__(self, experiment: dict[str, Any], folder: Path) -> None:
        mark = uuid.uuid4().hex
        self.names = f"buffer-{mark}", f"manager-{mark}"
        self.buffer = self._start(
            ReplayBuffer, self.names[0], str(folder), walks_source.KEYS, capacity=1000
        )
        self.manager = self._start(PolicyStateManager, self.names[1], str(folder))
        self.loaded = load_experiment(experiment)
        self.folder = folder

    @staticmethod
    def _start(make: type, name: str, *arguments: Any, **options: Any) -> Any:
        actor: Any = ray.remote(num_cpus=0)(make)
        return actor.options(name=name, namespace=NAMESPACE).remote(*arguments, **options)

    def spec(self, **evaluator: Any) -> dict[str, Any]:
        return {
            "text": resolved_yaml(self.loaded),
            "norm_stats": {},
            "evaluator": {"_type_": "walks", **evaluator},
            "producer": "rollout-1",
            "number": 1,
            "workers": 2,
            "replay_buffer": self.names[0],
            "policy_state_manager": self.names[1],
            "out_dir": str(self.folder),
            "seed": 0,
            "folder": str(self.folder),
            "path": list(sys.path),
            "software": describe_software(self.loaded),
        }

    def publish(self, version: int, value: float) -> None:
        """Publish weights that are all of one value."""
        models = build_acting(self.loaded.resolved, {}).models
        for parameter in models.parameters():
            torch.nn.init.constant_(parameter, value)
        packer = Packer(named_tensors(models))
        packer.copy()
        layer = {"refs": [ray.put(packer.array())], "index": packer.index}
        assert ray.get(self.manager.publish.remote(version, layer, layer), timeout=LIMIT_S)

    def frames(self) -> list[tuple[float, float, int]]:
        """Return number, weight and version of each episode in the buffer, in order."""
        drawn = ray.get(self.buffer.sample.remote(400, 0), timeout=LIMIT_S)
        windows = drawn["windows"]
        assert set(windows["x"][:, 1].tolist()) == {1.0}  # the worker's own numbers
        numbers, weights = windows["x"][:, 0].tolist(), windows["y"][:, 0].tolist()
        return sorted(set(zip(numbers, weights, drawn["versions"].tolist(), strict=True)))


@pytest.fixture
def walks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the evaluators of `walks.py`."""
    info = tmp_path / "site" / "walks-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: walks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[trainer_core.evaluators]\nwalks = walks:Walks\nmeasures = walks:Measures\n"
    )
    shutil.copy(walks_source.__file__, tmp_path / "site" / "walks.py")
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture
def learner(
    walks: None, dropout_experiment: dict[str, Any], address: str, tmp_path: Path
) -> Iterator[Learner]:
    del walks
    ray.init(address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    yield Learner(dropout_experiment, tmp_path / "run")
    ray.shutdown()


def test_every_episode_arrives_with_the_version_that_played_it(learner: Learner) -> None:
    learner.publish(7, 0.5)
    RolloutWorker(learner.spec(episodes=2)).run()
    assert learner.frames() == [(0, 0.5, 7), (1, 0.5, 7)]
    told = ray.get(learner.manager.describe.remote(), timeout=LIMIT_S)["acting"]["rollout-1"]
    assert (told["version"], told["calls"]) == (7, 2)


def test_newer_weights_act_from_the_next_episode_on(learner: Learner) -> None:
    learner.publish(1, 0.25)
    worker = RolloutWorker(learner.spec(episodes=1))
    worker.run()
    learner.publish(2, 0.75)
    worker.run()
    worker.run()
    assert [each[1:] for each in learner.frames()] == [(0.25, 1), (0.25, 1), (0.75, 2)]


def test_a_worker_whose_process_dies_goes_on_where_it_was(learner: Learner) -> None:
    learner.publish(0, 0.5)
    host: Any = ray.remote(num_cpus=0, max_restarts=0)(RolloutHost)
    first = host.remote()
    with pytest.raises(RayActorError):
        ray.get(first.run.remote(learner.spec(dies_at=2)), timeout=LIMIT_S)
    again = host.remote()
    ended = ray.get(again.run.remote(learner.spec(episodes=2)), timeout=LIMIT_S)
    ray.kill(again)
    assert ended["message"] == "it ended by itself"
    assert [each[0] for each in learner.frames()] == [0, 1, 2, 3]


def test_broken_episodes_are_counted_and_are_no_data(learner: Learner) -> None:
    learner.publish(0, 0.5)
    RolloutWorker(learner.spec(stands=True)).run()
    described = ray.get(learner.buffer.describe.remote(), timeout=LIMIT_S)
    assert (described["refused"], described["frames"]) == (3, 0)


def test_other_software_and_evaluators_that_do_not_play_are_refused(learner: Learner) -> None:
    spec = learner.spec()
    software = describe_software(learner.loaded)
    software["wheels"]["trainer-core"]["version"] = "9.9"
    with pytest.raises(UserError, match=r"has other software:\n.*trainer-core.*9\.9"):
        RolloutWorker({**spec, "software": software})
    with pytest.raises(UserError) as caught:
        RolloutWorker({**spec, "evaluator": {"_type_": "measures"}})
    assert str(caught.value) == (
        "runner ray_online: the evaluator Measures does not play for the sake of episodes "
        "(it has no method 'collect'); name one that does in 'evaluation'"
    )


def test_no_weights_in_time_is_an_error(learner: Learner) -> None:
    models = build_acting(learner.loaded.resolved, {}).models
    weights = NewestWeights(models, learner.names[1], "rollout-0")
    with pytest.raises(TrainerError) as caught:
        weights.wait(limit_s=0)
    assert str(caught.value) == f"{learner.names[1]!r} has had no weights for 0 s"


def test_weights_of_another_model_are_refused(learner: Learner) -> None:
    learner.publish(3, 0.5)
    models = torch.nn.ModuleDict({"model": torch.nn.Linear(1, 1)})
    with pytest.raises(TrainerError, match="weights arrived for model/"):
        NewestWeights(models, learner.names[1], "rollout-0").refresh()
