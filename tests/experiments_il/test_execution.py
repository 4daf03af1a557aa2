"""Lanes act as they would alone, and one robot as one lane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from experiments_il.blocks.action_decoder import TransformerActionDecoder
from experiments_il.blocks.chunk_encoder import GaussianPosterior
from experiments_il.blocks.expert_decoder import MLPExpertDecoder
from experiments_il.blocks.gate import ExpertGate
from experiments_il.blocks.latent_embedder import LatentEmbedder
from experiments_il.blocks.prior import FlowPrior
from experiments_il.execution import Actor, Executor
from experiments_il.losses import L2
from experiments_il.trainers.naive_flow_matching import NaiveFlowMatchingPolicyTrainer
from experiments_il.trainers.variational_flow_matching import VariationalFlowMatchingPolicyTrainer
from trainer_core.normalize import Normalizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.experiments_il.conftest import TwoModes

    from experiments_il.policy import Policy

STATE = "observation.state"
STEPS = 5


def randomize(models: nn.ModuleDict) -> None:
    """Give layers that start at zero something to do."""
    generator = torch.Generator().manual_seed(1)
    for parameter in models.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    models.eval()


def naive_policy(task: TwoModes, **settings: Any) -> Policy:
    torch.manual_seed(0)
    decoder = TransformerActionDecoder(task.action_dim, task.horizon, task.width, 2, 4)
    models = nn.ModuleDict({**task.encoders(), "action_decoder": decoder})
    randomize(models)
    trainer = NaiveFlowMatchingPolicyTrainer(models, {}, L2(), "cpu", n_action_steps=2, **settings)
    return trainer.policy(Normalizer({}))


def mixture_policy(task: TwoModes, **settings: Any) -> Policy:
    torch.manual_seed(0)
    h, a, w = task.horizon, task.action_dim, task.width
    models = nn.ModuleDict(
        {
            **task.encoders(),
            "posterior": GaussianPosterior(a, h, 2, w, 64),
            "prior": FlowPrior(2, w, 64),
            "gate": ExpertGate(2, 2, w, 64),
            "latent_embedder": LatentEmbedder(2, w),
            "action_decoder": MLPExpertDecoder(a, h, 2, 2, w, 64),
        }
    )
    randomize(models)
    trainer = VariationalFlowMatchingPolicyTrainer(
        models, {}, None, "cpu", n_action_steps=2, **settings
    )
    return trainer.policy(Normalizer({}))


def states(episode: int) -> Tensor:
    """Return what an episode shows, `(STEPS, 1)`."""
    return torch.randn(STEPS, 1, generator=torch.Generator().manual_seed(episode))


def play(policy: Policy, episodes: Sequence[int]) -> dict[int, Tensor]:
    """Play episodes side by side; return the actions `(STEPS, A)` of each."""
    executor = Executor(policy, seed=3)
    for lane, episode in enumerate(episodes):
        executor.start(lane, episode)
    actions = []
    for step in range(STEPS):
        frames = {lane: {STATE: states(episode)[step]} for lane, episode in enumerate(episodes)}
        actions.append(executor.act(frames))
    return {e: torch.stack([a[lane] for a in actions]) for lane, e in enumerate(episodes)}


@pytest.mark.parametrize("execution", ["receding_horizon", "temporal_ensembling"])
@pytest.mark.parametrize("make", [naive_policy, mixture_policy])
@pytest.mark.parametrize("solver", ["euler", "midpoint", "heun", "rk4"])
def test_lanes_act_as_they_would_alone(
    two_modes: TwoModes, make: Any, solver: str, execution: str
) -> None:
    policy = make(two_modes, solver=solver, num_inference_steps=3, execution=execution)
    together = play(policy, [4, 7, 9])
    for episode, actions in together.items():
        alone = play(policy, [episode])[episode]
        torch.testing.assert_close(actions, alone, atol=1e-5, rtol=1e-5)


def test_ensembling_averages_what_receding_horizon_would_choose(two_modes: TwoModes) -> None:
    first = play(naive_policy(two_modes), [4])[4]
    averaged = play(naive_policy(two_modes, execution="temporal_ensembling"), [4])[4]
    torch.testing.assert_close(averaged[0], first[0])  # there is one chunk only
    assert not torch.allclose(averaged[1], first[1])


def test_robot_acts_as_a_lane(two_modes: TwoModes) -> None:
    policy = naive_policy(two_modes)
    robot = Actor(policy, seed=3)
    actions = [robot.act({STATE: state.double().numpy()}) for state in states(0)]
    assert actions[0].dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(np.stack(actions)), play(policy, [0])[0])


def test_reset_begins_the_next_episode(two_modes: TwoModes) -> None:
    policy = naive_policy(two_modes)
    robot = Actor(policy, seed=3)
    robot.act({STATE: np.zeros(1)})
    robot.reset()
    actions = [robot.act({STATE: state.numpy()}) for state in states(1)]
    torch.testing.assert_close(torch.from_numpy(np.stack(actions)), play(policy, [1])[1])


def test_missing_observation_is_named(two_modes: TwoModes) -> None:
    robot = Actor(naive_policy(two_modes))
    with pytest.raises(KeyError) as caught:
        robot.act({"observation.images.top": np.zeros(1)})
    said = "the policy sees observation.state; given are observation.images.top"
    assert caught.value.args == (said,)
