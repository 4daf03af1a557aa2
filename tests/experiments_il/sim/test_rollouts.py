"""Episodes that a policy plays for their own sake, with a fake simulator and with the real ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from experiments_il.policy import ChunkSettings
from experiments_il.sim.aloha import AlohaEvaluator
from experiments_il.sim.environment import Observation, Outcome
from experiments_il.sim.evaluator import MetaWorldEvaluator, SimulationError, SimulatorEvaluator
from experiments_il.sim.pusht import PushTEvaluator
from experiments_il.sim.rollouts import Rollouts
from experiments_il.sim.simulators import METAWORLD
from experiments_il.sim.toy_modes import ToyModesEvaluator
from trainer_core.normalize import Normalizer
from trainer_core.online import Episode, EpisodeSource
from trainer_core.protocols import EvaluationContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

KEY = "observation.state"


class Doubling:
    """Does twice the state, in chunks of two; `sign` is its only weight."""

    chunk = ChunkSettings(n_action_steps=2)
    horizon = 2

    def __init__(self, key: str = KEY, action_dim: int = 1) -> None:
        self.observation_keys: tuple[str, ...] = (key,)
        self.action_dim = action_dim
        self.noise_shape: tuple[int, ...] = (2, action_dim)
        self.sign = 1.0

    def act(self, observation: Mapping[str, Tensor], noise: Tensor | None = None) -> Tensor:
        assert noise is not None
        state = observation[self.observation_keys[0]][:, -1].float().flatten(1)[:, :1]
        return (self.sign * 2 * state).unsqueeze(1).expand(-1, 2, self.action_dim)


class Counting:
    """Its state is 0, 1, 2, ...; an even episode is solved by its second step, others never."""

    action_dim, fps, max_steps = 1, 10, 500
    observation_shapes: Mapping[str, tuple[int, ...]] = {KEY: (1,)}
    action_low, action_high = -np.ones(1), np.ones(1)

    def __init__(self, seed: int, starts: list[tuple[int, int]], breaks_in: range) -> None:
        self.seed = seed
        self.starts = starts
        self.breaks_in = breaks_in
        self.state = np.zeros(1)
        self.closed = False

    def reset(self, episode: int) -> Observation:
        self.starts.append((self.seed, episode))
        self.episode, self.steps = episode, 0
        return self.observe()

    def step(self, action: NDArray[Any]) -> Outcome:
        self.steps += 1
        if self.episode in self.breaks_in:
            message = "unstable"
            raise ValueError(message)
        success = self.episode % 2 == 0 and self.steps == 2
        return Outcome(self.observe(), float(action[0]), success, done=False)

    def observe(self) -> Observation:
        return {KEY: np.full(1, self.steps, np.float32)}

    def render(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True


class Stage:
    """Collects from the fake until there are enough episodes."""

    def __init__(self, wanted: int, breaks_in: range = range(0)) -> None:
        self.wanted = wanted
        self.breaks_in = breaks_in
        self.policy = Doubling()
        self.starts: list[tuple[int, int]] = []
        self.made: list[Counting] = []
        self.episodes: list[Episode] = []

    def make(self, seed: int) -> Counting:
        self.made.append(Counting(seed, self.starts, self.breaks_in))
        return self.made[-1]

    def play(self, *, seed: int = 0, num_envs: int = 1, first: int = 0) -> list[Episode]:
        rollouts = Rollouts(
            simulator=METAWORLD,
            task="fake",
            make=self.make,
            seed=seed,
            num_envs=num_envs,
            max_steps=3,
        )
        rollouts.play(
            self.policy, self.context(), self.episodes.append, first=first, check=lambda _: None
        )
        return self.episodes

    def context(self, **options: Any) -> EvaluationContext:
        return EvaluationContext(
            SimpleNamespace(policy=lambda _: self.policy),
            nn.ModuleDict(),
            Normalizer({}),
            torch.device("cpu"),
            0,
            Path("nowhere"),
            0,
            False,
            interrupted=lambda: len(self.episodes) >= self.wanted,
            **options,
        )


def test_frames_are_what_was_seen_before_a_step_and_the_action_done_then() -> None:
    solved, failed = Stage(2).play()[:2]
    assert (solved.success, failed.success, solved.error) == (True, False, "")
    expected = {
        KEY: [[0.0], [1.0], [2.0]],
        "action": [[0.0], [0.0], [1.0]],  # of the second chunk 4, which the simulator limits to 1
        "next.reward": [0.0, 0.0, 1.0],
        "next.success": [False, False, False],
        "next.done": [False, False, True],
        "frame_index": [0, 1, 2],
        "timestamp": [0.0, np.float32(0.1), np.float32(0.2)],
    }
    assert {key: column.tolist() for key, column in failed.columns.items()} == expected
    assert {key: str(column.dtype) for key, column in failed.columns.items()} == {
        KEY: "float32",
        "action": "float32",
        "next.reward": "float32",
        "next.success": "bool",
        "next.done": "bool",
        "frame_index": "int64",
        "timestamp": "float32",
    }
    assert solved.columns["next.success"].tolist() == [False, True]


def test_every_50_numbers_have_another_seed_that_no_evaluation_has() -> None:
    stage = Stage(120)
    stage.play(num_envs=3)
    blocks = [seed for seed, _ in stage.starts]
    assert len(set(stage.starts)) == len(stage.starts)
    assert len(set(blocks)) == 3
    assert all(2**31 <= seed < 2**32 for seed in blocks)
    assert [number for _, number in stage.starts[:51]] == [*range(50), 0]


def test_a_number_fixes_the_start_whatever_was_played_before() -> None:
    whole, rest = Stage(60), Stage(3)
    whole.play(seed=4)
    rest.play(seed=4, first=57)
    assert rest.starts[:3] == whole.starts[57:60]
    other = Stage(1)
    other.play(seed=5)
    assert other.starts[0] != whole.starts[0]


def test_weights_may_change_between_two_episodes() -> None:
    stage = Stage(4)
    send = stage.episodes.append

    def turn(episode: Episode) -> None:
        send(episode)
        stage.policy.sign = -stage.policy.sign

    rollouts = Rollouts(
        simulator=METAWORLD, task="fake", make=stage.make, seed=0, num_envs=1, max_steps=3
    )
    rollouts.play(stage.policy, stage.context(), turn, first=1, check=lambda _: None)
    last_actions = [float(episode.columns["action"][-1, 0]) for episode in stage.episodes]
    assert last_actions == [1.0, 0.0, 1.0, 0.0]


def test_broken_episodes_are_sent_with_their_error_and_the_others_go_on() -> None:
    stage = Stage(4, breaks_in=range(1, 2))
    first, broken, third, _ = stage.play()
    assert (broken.error, dict(broken.columns)) == ("ValueError: unstable", {})
    assert (first.error, third.error, third.success) == ("", "", True)
    assert [each.closed for each in stage.made] == [True] * len(stage.made)


def test_a_simulator_that_always_breaks_ends_it() -> None:
    stage = Stage(1000, breaks_in=range(2, 50))
    with pytest.raises(SimulationError) as caught:
        stage.play()
    assert str(caught.value) == (
        "the simulator broke down in 10 episodes in a row; in episode 11: ValueError: unstable"
    )
    assert [bool(episode.error) for episode in stage.episodes] == [False, False] + [True] * 10


CAMERA = "observation.image"


@pytest.mark.parametrize(
    ("evaluator_class", "task", "size"),
    [
        (MetaWorldEvaluator, "reach-v3", 4),
        (PushTEvaluator, "push-t", 2),
        (AlohaEvaluator, "transfer-cube", 14),
    ],
)
def test_every_simulator_plays_for_the_episodes(
    evaluator_class: type[SimulatorEvaluator], task: str, size: int
) -> None:
    evaluator: Any = evaluator_class
    cameras = {CAMERA: "top"} if evaluator_class is PushTEvaluator else None
    played = evaluator(
        task, max_steps=3, num_envs=1, video_episodes=0, cameras=cameras, image_size=(24, 32)
    )
    assert isinstance(played, EpisodeSource)
    stage = Stage(2)
    stage.policy = Doubling(action_dim=size)
    played.collect(stage.context(), stage.episodes.append, first=0)
    columns = stage.episodes[0].columns
    assert columns["action"].shape == (3, size)
    assert columns[KEY].dtype == np.float32
    if cameras:
        assert (str(columns[CAMERA].dtype), columns[CAMERA].shape) == ("uint8", (3, 3, 24, 32))


def test_a_toy_without_episodes_is_no_source_of_them() -> None:
    assert not isinstance(ToyModesEvaluator(), EpisodeSource)
