"""Success rate in Meta-World: the protocol with a fake simulator, and once with the real one."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments_il.policy import ChunkSettings
from experiments_il.sim import evaluator as module
from experiments_il.sim.evaluator import MetaWorldEvaluator
from experiments_il.sim.statistics import wilson_interval
from trainer_core.errors import UserError
from trainer_core.normalize import Normalizer
from trainer_core.protocols import EvaluationContext, Evaluator

KEY = "observation.state"


class ScriptedPolicy:
    """Goes from the hand to the goal in a straight line; enough for reach-v3."""

    observation_keys: tuple[str, ...] = (KEY,)
    horizon = 2
    action_dim = 4
    noise_shape: tuple[int, ...] = (2, 4)

    def __init__(self) -> None:
        self.chunk = ChunkSettings(n_action_steps=2)
        self.batches: list[int] = []

    def act(self, observation: Mapping[str, Tensor], noise: Tensor | None = None) -> Tensor:
        assert noise is not None
        state = observation[KEY][:, -1]
        self.batches.append(len(state))
        move = 10 * (state[:, 36:39] - state[:, :3])
        action = torch.cat([move, torch.zeros(len(state), 1)], dim=1)
        return action.unsqueeze(1).expand(-1, 2, -1)


class FakeEnv:
    """Episode k succeeds at step k + 1, unless k is odd; the state holds the episode's number."""

    def __init__(self) -> None:
        self.closed = False

    def reset(self, options: dict[str, int]) -> tuple[NDArray[np.float64], dict[str, Any]]:
        self.episode, self.steps = options["episode"], 0
        return np.full(39, self.episode, dtype=np.float64), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        assert np.abs(action).max() <= 1
        self.steps += 1
        success = self.episode % 2 == 0 and self.steps > self.episode
        state = np.full(39, self.episode, dtype=np.float64)
        return state, 0.5, False, False, {"success": float(success)}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def envs(monkeypatch: pytest.MonkeyPatch) -> list[FakeEnv]:
    """The fake environments that were made."""
    made: list[FakeEnv] = []

    def make_env(task: str, seed: int, *, render: bool = False) -> FakeEnv:
        if render:
            message = "no picture"
            raise UserError(message)
        made.append(FakeEnv())
        return made[-1]

    monkeypatch.setattr(module, "make_env", make_env)
    monkeypatch.setattr(module, "require_task", lambda _: None)
    return made


def make_context(out_dir: Path, policy: object, **options: Any) -> EvaluationContext:
    trainer = SimpleNamespace(policy=lambda _: policy) if policy else SimpleNamespace()
    device = torch.device("cpu")
    return EvaluationContext(
        trainer, nn.ModuleDict(), Normalizer({}), device, 5, out_dir, 0, True, **options
    )


def read_episodes(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.usefixtures("envs")
def test_rate_and_interval_are_of_all_episodes(tmp_path: Path) -> None:
    evaluator = MetaWorldEvaluator("fake", episodes=6, max_steps=10, num_envs=2, video_episodes=0)
    assert isinstance(evaluator, Evaluator)
    result = evaluator.evaluate(make_context(tmp_path / "e", ScriptedPolicy()))
    assert (result["success_rate"], result["n"]) == (0.5, 6)
    assert result["ci95"] == list(wilson_interval(3, 6))
    assert result["mean_steps"] == pytest.approx((1 + 10 + 3 + 10 + 5 + 10) / 6)


@pytest.mark.usefixtures("envs")
@pytest.mark.parametrize("num_envs", [1, 2, 4, 50])
def test_episodes_do_not_depend_on_their_number_of_lanes(tmp_path: Path, num_envs: int) -> None:
    evaluator = MetaWorldEvaluator("fake", episodes=4, max_steps=6, num_envs=num_envs, seed=7)
    evaluator.evaluate(make_context(tmp_path, ScriptedPolicy()))
    assert read_episodes(tmp_path) == [
        {"task": "fake", "seed": 7, "episode": 0, "success": True, "steps": 1, "return": 0.5},
        {"task": "fake", "seed": 7, "episode": 1, "success": False, "steps": 6, "return": 3.0},
        {"task": "fake", "seed": 7, "episode": 2, "success": True, "steps": 3, "return": 1.5},
        {"task": "fake", "seed": 7, "episode": 3, "success": False, "steps": 6, "return": 3.0},
    ]


def test_lanes_share_one_batch_and_are_closed(tmp_path: Path, envs: list[FakeEnv]) -> None:
    policy = ScriptedPolicy()
    evaluator = MetaWorldEvaluator("fake", episodes=3, max_steps=4, num_envs=3, video_episodes=0)
    evaluator.evaluate(make_context(tmp_path, policy))
    assert policy.batches[0] == 3
    assert [env.closed for env in envs] == [True] * 3


@pytest.mark.usefixtures("envs")
def test_interruption_keeps_the_finished_episodes(tmp_path: Path) -> None:
    done: list[tuple[int, int, str]] = []
    context = make_context(
        tmp_path,
        ScriptedPolicy(),
        progress=lambda *report: done.append(report),
        interrupted=lambda: bool(done),
    )
    result = MetaWorldEvaluator("fake", episodes=9, num_envs=1).evaluate(context)
    assert done == [(1, 9, "1 succeeded")]
    assert result["n"] == len(read_episodes(tmp_path)) == 1


@pytest.mark.usefixtures("envs")
def test_immediate_interruption_claims_no_rate(tmp_path: Path) -> None:
    context = make_context(tmp_path, ScriptedPolicy(), interrupted=lambda: True)
    result = MetaWorldEvaluator("fake").evaluate(context)
    assert result["n"] == 0
    assert "success_rate" not in result


@pytest.mark.usefixtures("envs")
def test_without_pictures_the_state_is_drawn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    MetaWorldEvaluator("fake", episodes=2, max_steps=5).evaluate(
        make_context(tmp_path, ScriptedPolicy())
    )
    assert caplog.messages == ["no picture. The video shows a drawing of the state instead."]
    with av.open(str(tmp_path / "videos" / "episode-000.mp4")) as video:
        assert [frame.width for frame in video.decode(video=0)] == [480, 480]


@pytest.mark.usefixtures("envs")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (None, ("the evaluator 'metaworld' needs a trainer with a policy; "
               "SimpleNamespace has no method policy(normalizer)")),
        ({"observation_keys": (KEY, "observation.images.top")},
         "the policy sees observation.images.top; Meta-World here gives only observation.state"),
        ({"action_dim": 7}, "the policy's actions have 7 dimensions, Meta-World's 4"),
    ],
)  # fmt: skip
def test_unfit_policy_is_named(
    tmp_path: Path, changes: dict[str, Any] | None, message: str
) -> None:
    policy = None
    if changes is not None:
        policy = ScriptedPolicy()
        vars(policy).update(changes)
    with pytest.raises(UserError) as caught:
        MetaWorldEvaluator("fake").evaluate(make_context(tmp_path, policy))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"episodes": 0}, "evaluation.episodes must be at least 1, got 0"),
        ({"num_envs": 0}, "evaluation.num_envs must be at least 1, got 0"),
        ({"video_episodes": -1}, "evaluation.video_episodes must be at least 0, got -1"),
    ],
)
def test_impossible_numbers_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError) as caught:
        MetaWorldEvaluator("reach-v3", **options)
    assert str(caught.value) == message


def test_unknown_task_is_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"^Meta-World has no task 'reach-v2'; did you mean "):
        MetaWorldEvaluator("reach-v2")


def test_scripted_policy_reaches_every_goal(tmp_path: Path) -> None:
    evaluator = MetaWorldEvaluator("reach-v3", episodes=4, num_envs=2, max_steps=150)
    result = evaluator.evaluate(make_context(tmp_path, ScriptedPolicy()))
    assert result["success_rate"] == 1.0
    assert (tmp_path / "videos" / "episode-000.mp4").stat().st_size > 1000
    assert len(read_episodes(tmp_path)) == 4
