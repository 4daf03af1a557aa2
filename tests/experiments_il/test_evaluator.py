"""Success rate in Meta-World: the protocol with a fake simulator, and once with the real one."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments_il.policy import ChunkSettings
from experiments_il.sim.environment import Observation, Outcome
from experiments_il.sim.evaluator import MetaWorldEvaluator, SimulationError
from experiments_il.sim.schematic import draw_state
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


class FakeEnvironment:
    """Episode k succeeds at step k + 1, unless k is odd; the state holds the episode's number."""

    action_dim, fps, max_steps = 4, 20, 500
    observation_shapes: Mapping[str, tuple[int, ...]] = {KEY: (39,)}
    action_low, action_high = -np.ones(4), np.ones(4)
    breaks_in: tuple[int, ...] = ()

    def __init__(self) -> None:
        self.closed = False
        self.state = np.zeros(39)

    def reset(self, episode: int) -> Observation:
        self.episode, self.steps = episode, 0
        return self.observe()

    def step(self, action: NDArray[np.float32]) -> Outcome:
        self.steps += 1
        if self.episode in self.breaks_in:
            message = "unstable"
            raise ValueError(message)
        success = self.episode % 2 == 0 and self.steps > self.episode
        return Outcome(self.observe(), 0.5, success, done=False)

    def observe(self) -> Observation:
        self.state = np.full(39, float(self.episode))
        return {KEY: self.state.astype(np.float32)}

    def render(self) -> NDArray[np.uint8]:
        return draw_state(self.state)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def envs(monkeypatch: pytest.MonkeyPatch) -> list[FakeEnvironment]:
    """The fake environments that were made."""
    made: list[FakeEnvironment] = []

    def make_environment(_evaluator: MetaWorldEvaluator, *, film: bool) -> FakeEnvironment:
        made.append(FakeEnvironment())
        return made[-1]

    monkeypatch.setattr(MetaWorldEvaluator, "make_environment", make_environment)
    monkeypatch.setattr(MetaWorldEvaluator, "require_task", lambda *_: None)
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


def test_lanes_share_one_batch_and_are_closed(tmp_path: Path, envs: list[FakeEnvironment]) -> None:
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
def test_what_cannot_be_drawn_gives_no_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEnvironment, "render", lambda _: None)
    evaluator = MetaWorldEvaluator("fake", episodes=1, max_steps=3)
    assert evaluator.evaluate(make_context(tmp_path, ScriptedPolicy()))["n"] == 1
    assert not (tmp_path / "videos").exists()


@pytest.mark.usefixtures("envs")
def test_broken_episode_is_marked_and_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(FakeEnvironment, "breaks_in", (1, 4))
    evaluator = MetaWorldEvaluator("fake", episodes=6, max_steps=4, num_envs=2, video_episodes=0)
    result = evaluator.evaluate(make_context(tmp_path, ScriptedPolicy()))
    assert (result["n"], result["broken"], result["success_rate"]) == (4, 2, 0.5)
    assert [line.get("error") for line in read_episodes(tmp_path)] == [
        *(None, "ValueError: unstable", None, None, "ValueError: unstable", None)
    ]
    assert caplog.messages == [
        "Meta-World broke down in episode 1: ValueError: unstable",
        "Meta-World broke down in episode 4: ValueError: unstable",
    ]


def test_broken_environment_is_made_anew(
    tmp_path: Path, envs: list[FakeEnvironment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEnvironment, "breaks_in", (0,))
    evaluator = MetaWorldEvaluator("fake", episodes=3, max_steps=3, num_envs=1, video_episodes=0)
    evaluator.evaluate(make_context(tmp_path, ScriptedPolicy()))
    assert [env.closed for env in envs] == [True, True]


@pytest.mark.usefixtures("envs")
def test_simulator_that_always_breaks_down_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEnvironment, "breaks_in", (0, 1))
    evaluator = MetaWorldEvaluator("fake", episodes=2, num_envs=2, video_episodes=0)
    with pytest.raises(SimulationError) as caught:
        evaluator.evaluate(make_context(tmp_path, ScriptedPolicy()))
    assert str(caught.value) == (
        "the simulator broke down in all 2 episodes that were played; "
        "in episode 0: ValueError: unstable"
    )
    assert len(read_episodes(tmp_path)) == 2


@pytest.mark.usefixtures("envs")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (None, ("the evaluator 'metaworld' needs a trainer with a policy; "
               "SimpleNamespace has no method policy(normalizer)")),
        ({"observation_keys": (KEY, "observation.images.top")},
         ("the policy sees observation.images.top; Meta-World here gives observation.state; "
          "evaluation.cameras says which camera each picture comes from (topview, corner, corner2, "
          "corner3, corner4, behindGripper, gripperPOV)")),
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
        (
            {"cameras": {"observation.images.top": "top"}},
            (
                "Meta-World has no camera 'top' (for observation.images.top); there are topview, "
                "corner, corner2, corner3, corner4, behindGripper, gripperPOV"
            ),
        ),
        (
            {"cameras": {KEY: "corner"}},
            f"cameras: '{KEY}' is not free: Meta-World gives numbers by that key",
        ),
        ({"image_size": [64]}, "image_size must be height and width, such as [64, 64], got [64]"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], message: str) -> None:
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


def test_cameras_reach_the_policy_at_their_size(tmp_path: Path) -> None:
    class Looking(ScriptedPolicy):
        observation_keys = (KEY, "observation.images.top")

        def act(self, observation: Mapping[str, Tensor], noise: Tensor | None = None) -> Tensor:
            picture = observation["observation.images.top"]
            assert (picture.dtype, picture.shape[1:]) == (torch.uint8, (1, 3, 24, 32))
            assert picture.float().std() > 5
            return super().act(observation, noise)

    cameras = {"observation.images.top": "topview"}
    evaluator = MetaWorldEvaluator(
        "reach-v3", episodes=1, max_steps=4, video_episodes=0, cameras=cameras, image_size=(24, 32)
    )
    assert evaluator.evaluate(make_context(tmp_path, Looking()))["n"] == 1
