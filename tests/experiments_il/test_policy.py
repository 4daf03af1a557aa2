"""Receding-horizon execution and sampling, with policies small enough to predict."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from experiments_il.action_queue import ChunkSettings
from experiments_il.execution import Executor
from experiments_il.policy import FlowMatchingPolicy
from trainer_core.errors import UserError
from trainer_core.normalize import Normalizer

KEY = "observation.state"


class CountingPolicy:
    """Returns chunks whose actions are (sum of the history, index in the chunk)."""

    observation_keys: tuple[str, ...] = (KEY,)
    horizon = 4
    action_dim = 2
    noise_shape: tuple[int, ...] = (4, 2)

    def __init__(self, chunk: ChunkSettings) -> None:
        self.chunk = chunk
        self.seen: list[Tensor] = []
        self.noise: list[Tensor] = []

    def act(self, observation: Mapping[str, Tensor], noise: Tensor | None = None) -> Tensor:
        assert noise is not None
        self.seen.append(observation[KEY])
        self.noise.append(noise)
        total = observation[KEY].sum((1, 2))
        index = torch.arange(4.0).expand(len(total), 4)
        return torch.stack([total.unsqueeze(1).expand(-1, 4), index], dim=-1)


def frame(value: float) -> dict[str, Tensor]:
    return {KEY: torch.tensor([value])}


def test_first_frame_fills_the_history() -> None:
    policy = CountingPolicy(ChunkSettings(n_obs_steps=3, n_action_steps=1))
    executor = Executor(policy)
    executor.start(0, episode=0)
    for value in (1.0, 2.0):
        executor.act({0: frame(value)})
    assert [seen.flatten().tolist() for seen in policy.seen] == [[1.0, 1.0, 1.0], [1.0, 1.0, 2.0]]


def test_new_plan_only_after_the_executed_actions() -> None:
    policy = CountingPolicy(ChunkSettings(n_action_steps=3))
    executor = Executor(policy)
    executor.start(0, episode=0)
    actions = [executor.act({0: frame(value)})[0].tolist() for value in range(5)]
    assert actions == [[0, 0], [0, 1], [0, 2], [3, 0], [3, 1]]


def test_negative_offset_skips_past_actions() -> None:
    policy = CountingPolicy(ChunkSettings(n_action_steps=2, action_offset=-1))
    executor = Executor(policy)
    executor.start(0, episode=0)
    indices = [executor.act({0: frame(0.0)})[0][1].item() for _ in range(3)]
    assert indices == [1, 2, 1]


def test_lanes_plan_together_and_end_apart() -> None:
    policy = CountingPolicy(ChunkSettings(n_action_steps=2))
    executor = Executor(policy)
    executor.start(0, episode=0)
    executor.start(1, episode=1)
    executor.act({0: frame(1.0), 1: frame(2.0)})
    executor.start(1, episode=2)
    executor.act({0: frame(3.0), 1: frame(4.0)})
    assert [seen.flatten().tolist() for seen in policy.seen] == [[1.0, 2.0], [4.0]]


def test_noise_depends_on_the_episode_not_on_its_lane() -> None:
    draws = []
    for lane, other in ((0, 1), (1, 0)):
        policy = CountingPolicy(ChunkSettings(n_action_steps=4))
        executor = Executor(policy, seed=5)
        executor.start(lane, episode=7)
        executor.start(other, episode=8)
        executor.act({lane: frame(0.0), other: frame(0.0)})
        draws.append(policy.noise[0])
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0][0], draws[0][1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_obs_steps": 0}, "n_obs_steps must be at least 1, got 0"),
        ({"n_action_steps": 0}, "n_action_steps must be at least 1, got 0"),
        (
            {"action_offset": 1},
            (
                "action_offset must be 0 or negative, got 1: "
                "a chunk has to contain the current frame's action"
            ),
        ),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UserError) as caught:
        ChunkSettings(**settings)  # type: ignore[arg-type] # wrong on purpose
    assert str(caught.value) == message


def test_more_actions_than_a_chunk_are_refused() -> None:
    with pytest.raises(UserError) as caught:
        ChunkSettings(n_action_steps=4, action_offset=-1).check_horizon(4)
    assert str(caught.value) == (
        "n_action_steps is 4, but a chunk has 3 actions from the current frame on "
        "(horizon 4, action_offset -1)"
    )


class ConstantDecoder:
    """A field that points from the noise to the memory's mean, and counts its calls."""

    action_dim = 2
    horizon = 3

    def __init__(self) -> None:
        self.caches = 0
        self.steps = 0

    def cache(self, memory: Tensor) -> tuple[tuple[Tensor, ...], ...]:
        self.caches += 1
        return ((memory.mean((1, 2)),),)

    def step(self, x_t: Tensor, t: Tensor, cache: tuple[tuple[Tensor, ...], ...]) -> Tensor:
        self.steps += 1
        assert t.shape == x_t.shape[:1]
        return cache[0][0][:, None, None] + 0 * x_t


def make_policy(
    decoder: ConstantDecoder, stats: dict[str, dict[str, object]]
) -> FlowMatchingPolicy:
    return FlowMatchingPolicy(
        lambda observation: observation[KEY],
        decoder,
        Normalizer(stats),
        observation_keys=(KEY,),
        num_inference_steps=10,
    )


def test_memory_is_cached_once_a_chunk() -> None:
    decoder = ConstantDecoder()
    policy = make_policy(decoder, {})
    policy.act({KEY: torch.ones(2, 1, 4)})
    assert (decoder.caches, decoder.steps, policy.evaluations) == (1, 10, 10)


def test_units_are_those_of_the_data() -> None:
    stats: dict[str, dict[str, object]] = {
        KEY: {"mode": "mean_std", "mean": [1.0], "std": [2.0]},
        "action": {"mode": "min_max", "min": [0.0, 10.0], "max": [2.0, 30.0]},
    }
    policy = make_policy(ConstantDecoder(), stats)
    chunk = policy.act({KEY: torch.full((1, 1, 1), 2.0)}, noise=torch.zeros(1, 3, 2))
    assert torch.allclose(chunk, torch.tensor([1.5, 25.0]).expand(1, 3, 2))


def test_actions_without_statistics_stay_as_they_are() -> None:
    policy = make_policy(ConstantDecoder(), {})
    chunk = policy.act({KEY: torch.full((1, 1, 1), 0.5)}, noise=torch.zeros(1, 3, 2))
    assert torch.allclose(chunk, torch.full((1, 3, 2), 0.5))
