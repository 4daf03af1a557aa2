"""Runs that learn from a game while rollout workers of a real cluster play it."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import ray
import torch
from safetensors.torch import load_file

import trainer_core
from policy_constructor.errors import ConfigError
from trainer_core.checkpoint.layout import list_steps
from trainer_core.engine.trained import build_acting
from trainer_core.errors import TrainerError, UserError
from trainer_core.experiment.loading import load_experiment
from trainer_core.loggers.jsonl import read_metrics
from trainer_core.sampling import order_of
from trainer_core.trainers import DefaultTrainer
from trainer_ray.online import learner, supervision
from trainer_ray.online.actors import NamedActor, start_actor
from trainer_ray.online.buffer_actor import start_buffer
from trainer_ray.online.cluster_checks import require_free
from trainer_ray.online.filling import set_aside
from trainer_ray.online.hosting import RolloutHost
from trainer_ray.online.packed_weights import load_weights
from trainer_ray.online.policy_state import PolicyStateManager
from trainer_ray.online.supervision import Supervisor

if TYPE_CHECKING:
    from pathlib import Path

    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_ray.online.options import Options

LIMIT_S = 120
GAME_SEED = 1_000_001
KEYS: dict[str, dict[str, Any]] = {
    "index": {"shape": [], "dtype": "int64", "offsets": None},
    "number": {"shape": [], "dtype": "int64", "offsets": None},
    "x": {"shape": [3], "dtype": "float32", "offsets": None},
    "y": {"shape": [2], "dtype": "float32", "offsets": [0, 1]},
}
GAUGES = {
    "online/episodes",
    "online/frames",
    "online/policy_lag",
    "online/refused",
    "online/rollout_frames_per_s",
    "online/staleness",
    "online/success_rate",
    "online/wait_share",
    "online/workers",
}


class Spy:
    """Keeps the batches of a run as its trainer gets them, and a weight before each of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[dict[str, torch.Tensor]] = []
        self.weights: list[float] = []
        self.interrupt_in = 0
        losses = DefaultTrainer.compute_losses

        def compute(trainer: Any, batch: Any, step: Any) -> Any:
            if step.training:
                self.batches.append(batch)
                self.weights.append(float(first_weight(trainer.models["model"].state_dict())))
                self.interrupt_in -= 1
                if self.interrupt_in == 0:
                    os.kill(os.getpid(), signal.SIGINT)
            return losses(trainer, batch, step)

        monkeypatch.setattr(DefaultTrainer, "compute_losses", compute)

    def own(self) -> list[int]:
        """Return the samples of the data set in the order of the run."""
        return [i for batch in self.batches for i in batch["index"].tolist() if i >= 0]

    def new(self, key: str) -> list[torch.Tensor]:
        """Return the new samples of each batch."""
        return [batch[key][batch["index"] < 0] for batch in self.batches]


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch)


def first_weight(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return next(iter(tensors.values())).flatten()[0]


def newest_weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(list_steps(run / "checkpoints")[0][1] / "model.model.safetensors")


def robot_episode() -> dict[str, Any]:
    """Return twenty frames of somebody else's."""
    columns: dict[str, Any] = {"x": np.ones((20, 3), np.float32)}
    columns["y"] = np.ones((20, 2), np.float32)
    columns["index"] = columns["number"] = np.full(20, -7, np.int64)
    return {"columns": columns, "success": True, "version": -1}


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_batches_are_mixed_and_rollouts_have_newer_and_newer_weights(
    joined: dict[str, Any], spy: Spy, tmp_path: Path
) -> None:
    joined["data"]["offset"] = 3.0
    joined["runner"] |= {"rollout": {"pause_s": 0.01}, "min_frames": 8}
    joined["trainer"] |= {"max_steps": 700, "log_every_n_steps": 100}
    joined["evaluation"]["every"] = 0
    result = trainer_core.run(joined)
    assert (result.status, result.step) == ("completed", 700)
    assert {len(new) for new in spy.new("index")} == {4}
    assert spy.own() == order_of(range(60), 0).indices(0, 4 * 700).tolist()
    assert set(torch.cat(spy.new("index")).tolist()) == {-1 - GAME_SEED}
    acted = torch.unique(torch.cat(spy.new("x")) * 2 + 3)
    assert len(acted) > 1
    assert (acted[:, None] - torch.tensor(spy.weights)).abs().amin(1).max() < 1e-5
    shown = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert {key for line in shown for key in line if key.startswith("online/")} == GAUGES


def test_steps_on_the_data_set_alone_are_those_of_the_local_runner(
    joined: dict[str, Any], spy: Spy, tmp_path: Path
) -> None:
    joined["runner"]["offline_steps"] = 50
    for folder, runner in (("run", "ray_online"), ("local", "local")):
        spy.interrupt_in = 40
        joined["run"]["out_dir"] = str(tmp_path / folder)
        assert trainer_core.run(joined, runner=runner).step == 40
    assert not (tmp_path / "run" / "rollouts").exists()
    found, wanted = newest_weights(tmp_path / "run"), newest_weights(tmp_path / "local")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_buffer_of_the_cluster_is_joined_and_left_there(
    joined: dict[str, Any], program: None, spy: Spy, tmp_path: Path
) -> None:
    name = joined["runner"]["replay_buffer"]
    buffer = start_buffer(str(tmp_path / "robot"), KEYS, name=name, capacity=100)
    ray.get(buffer.add.remote("arm", 0, [robot_episode()]))
    joined["runner"]["target_success"] = 0.3
    joined["runner"]["rollout"] = {"wins": 0}
    result = trainer_core.run(joined)
    assert (result.status, result.step) == ("completed", 30)
    assert result.stop_reason == "target_success: 0.3 reached 0.3"
    assert set(torch.cat(spy.new("index")).tolist()) == {-7}
    described = ray.get(buffer.describe.remote())
    assert (described["frames"], described["learner"]) == (20, "")


def test_a_second_learner_is_refused(joined: dict[str, Any], program: None, tmp_path: Path) -> None:
    name = joined["runner"]["replay_buffer"]
    buffer = start_buffer(str(tmp_path / "robot"), KEYS, name=name, capacity=100)
    weights = start_actor(f"{name} weights", PolicyStateManager, "")
    for actor, kind in ((weights, "policy state manager"), (buffer, "replay buffer")):
        assert ray.get(actor.attach.remote("the first run")) == ""
        with pytest.raises(ConfigError) as caught:
            trainer_core.run(joined)
        option = kind.replace(" ", "_")
        (problem,) = caught.value.problems
        assert problem.path == f"runner.{option}"
        assert problem.message == (
            f"the {kind} {joined['runner'][option]!r} has a learner: the first run; it has one at "
            f"a time, so give this run another {option}"
        )
    assert not (tmp_path / "run").exists()


def test_a_learner_that_comes_while_this_one_is_built_is_refused_too(
    joined: dict[str, Any], program: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = joined["runner"]["replay_buffer"]
    buffer = start_buffer(str(tmp_path / "robot"), KEYS, name=name, capacity=100)

    def attach_after(loaded: LoadedExperiment, options: Options) -> None:
        require_free(loaded, options)
        ray.get(buffer.attach.remote("the first run"))

    monkeypatch.setattr(learner, "require_free", attach_after)
    with pytest.raises(UserError) as caught:
        trainer_core.run(joined)
    assert str(caught.value).startswith(f"the replay buffer {name!r} has a learner: the first run;")


def test_an_actor_that_is_something_else_is_refused(joined: dict[str, Any], program: None) -> None:
    name = joined["runner"]["replay_buffer"]
    weights = start_actor(name, PolicyStateManager, "")
    with pytest.raises(ConfigError) as caught:
        trainer_core.run(joined)
    (problem,) = caught.value.problems
    assert problem.path == "runner.replay_buffer"
    assert problem.message == f"the actor {name!r} of the cluster is no replay buffer"
    ray.kill(weights)


def test_workers_that_do_not_fit_into_the_cluster_are_refused(
    joined: dict[str, Any], tmp_path: Path
) -> None:
    joined["runner"]["rollout_workers"] = 9
    with pytest.raises(ConfigError) as caught:
        trainer_core.run(joined)
    (problem,) = caught.value.problems
    assert (problem.path, problem.message) == (
        "runner.rollout_workers",
        "9 rollout workers do not fit: each takes a CPU, and the cluster has 8",
    )
    assert not (tmp_path / "run").exists()


def test_a_buffer_that_stays_empty_ends_the_run_with_the_counts(
    joined: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    joined["runner"] |= {"fill_timeout_s": 8, "rollout": {"wins": 0, "pause_s": 0.1}}
    with pytest.raises(TrainerError) as caught:
        trainer_core.run(joined)
    message = str(caught.value)
    assert message.startswith("the replay buffer has 0 of 16 frames after 8 s (fill_timeout_s): ")
    assert "episodes came, 0 of them succeeded; keep: successes keeps only these" in message
    waiting = "replay buffer 0/16 frames; 0 episodes came, 0 of them succeeded"
    assert capsys.readouterr().err.splitlines().count(waiting) == 1


def test_an_episode_that_the_capacity_cannot_hold_is_told(
    joined: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    joined["runner"] |= {"min_frames": 7, "capacity": 7}
    told = (
        "the replay buffer refused an episode of rollout-0: it has 8 steps, and the buffer holds "
        "7; online/refused counts them"
    )

    def interrupt() -> None:
        wait_for(lambda: told in caplog.text)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    assert trainer_core.run(joined).status == "interrupted"
    assert caplog.text.count(told) == 1


def test_an_interrupt_while_waiting_saves_and_leaves(
    joined: dict[str, Any], tmp_path: Path
) -> None:
    joined["runner"]["rollout"] = {"wins": 0}
    run = tmp_path / "run"

    def interrupt() -> None:
        wait_for((run / "rollouts" / "rollout-0" / "pid").exists)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    result = trainer_core.run(joined)
    assert (result.status, result.step) == ("interrupted", 0)
    assert (run / "checkpoints" / "step-000000000").is_dir()


def test_what_a_worker_finds_wrong_is_told_at_once(joined: dict[str, Any]) -> None:
    joined["runner"]["rollout"] = {"crash": "refuse"}
    with pytest.raises(UserError) as caught:
        trainer_core.run(joined)
    assert str(caught.value) == "rollout-0: the toy has no such game"


@pytest.mark.slow
def test_a_simulator_that_always_breaks_down_ends_the_run(joined: dict[str, Any]) -> None:
    joined["runner"]["rollout"] = {"crash": "raise"}
    with pytest.raises(TrainerError) as caught:
        trainer_core.run(joined)
    assert str(caught.value) == (
        "the rollout worker failed 3 times in a row without an episode; the last error of "
        "rollout-0 was\n  TrainerError: the toy's simulator broke down in every episode: out of "
        "marbles"
    )


def test_workers_that_fail_again_and_again_end_the_run(
    program: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = str(tmp_path)
    actor = NamedActor("manager", name, lambda: start_actor(name, PolicyStateManager, ""))
    actor.start()
    supervisor = Supervisor(actor, actor, "a run")
    supervisor.start_workers([{"producer": "rollout-0"}])
    try:
        wait_for(lambda: supervisor.failure is not None)
    finally:
        supervisor.close()
        actor.end()
    assert str(supervisor.failure).startswith(
        "the rollout worker failed 3 times in a row without an episode; the last error of "
        "rollout-0 was\n  its process ended: KeyError: 'path'"
    )
    assert "rollout-0 ended and is started again: its process ended: KeyError" in caplog.text


def test_a_worker_that_hangs_is_started_again_and_at_last_given_up(
    program: None, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging(RolloutHost):
        def run(self, spec: Any) -> Any:
            time.sleep(10 * LIMIT_S)

    monkeypatch.setattr(supervision, "RolloutHost", Hanging)
    name = str(tmp_path)
    actor = NamedActor("manager", name, lambda: start_actor(name, PolicyStateManager, ""))
    actor.start()
    supervisor = Supervisor(actor, actor, "a run", limit_s=0.5)
    supervisor.start_workers([{"producer": "rollout-0"}])
    try:
        wait_for(lambda: supervisor.failure is not None)
    finally:
        supervisor.close()
        actor.end()
    why = "it hung: no episode ended for 0.5 s (run.watchdog_s)"
    assert f"rollout-0 ended and is started again: {why}" in caplog.text
    assert str(supervisor.failure).endswith(f"the last error of rollout-0 was\n  {why}")


def test_a_run_that_goes_on_reads_the_data_set_where_it_stopped(
    joined: dict[str, Any], program: None, spy: Spy, tmp_path: Path
) -> None:
    buffer = start_buffer(
        str(tmp_path / "robot"), KEYS, name=joined["runner"]["replay_buffer"], capacity=100
    )
    ray.get(buffer.add.remote("arm", 0, [robot_episode()]))
    joined["runner"] |= {"rollout": {"wins": 0}, "offline_steps": 7}
    assert trainer_core.run(joined, ["trainer.max_steps=25"]).step == 25
    result = trainer_core.run(joined, ["run.allow=[schedule]"])
    assert (result.status, result.step) == ("completed", 60)
    assert [len(new) for new in spy.new("index")] == [0] * 7 + [4] * 53
    assert spy.own() == order_of(range(60), 0).indices(0, 7 * 8 + 53 * 4).tolist()


def test_a_restarted_manager_has_the_weights_of_the_newest_checkpoint(
    joined: dict[str, Any], program: None, tmp_path: Path
) -> None:
    trainer_core.run(joined, runner="local")
    name = str(tmp_path)
    manager = NamedActor(
        "manager", name, lambda: start_actor(name, PolicyStateManager, f"{name}/run/checkpoints")
    )
    manager.start()
    assert manager.call("newest", -1, limit_s=LIMIT_S) is None
    before = manager.call("pid", limit_s=LIMIT_S)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: manager.call("pid", limit_s=LIMIT_S) != before)
    newest = manager.call("newest", -1, limit_s=LIMIT_S)
    models = build_acting(load_experiment(joined).resolved, {}).models
    load_weights(models, newest["layers"])
    manager.end()
    wanted = newest_weights(tmp_path / "run")
    assert newest["version"] == 60
    assert all(
        torch.equal(wanted[key], value) for key, value in models["model"].state_dict().items()
    )


def test_episodes_of_an_earlier_run_are_set_aside_where_one_begins_anew(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "replay").mkdir()
        (tmp_path / "replay" / "segment").touch()
        set_aside(tmp_path)
        assert (tmp_path / "previous" / f"replay-{number:03d}" / "segment").exists()
    set_aside(tmp_path)
    assert not (tmp_path / "replay").exists()


def test_the_time_limit_of_a_run_counts_while_it_waits(joined: dict[str, Any]) -> None:
    joined["trainer"]["max_time_s"] = 3
    joined["runner"]["rollout"] = {"wins": 0}
    result = trainer_core.run(joined)
    assert (result.status, result.step, result.stop_reason) == ("completed", 0, "max_time_s")
