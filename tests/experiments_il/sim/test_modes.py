"""Meta-World past an obstacle: both ways lead to the goal, the way between them does not."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from experiments_il.action_queue import ChunkSettings
from experiments_il.sim.modes import DetourEnvironment, MetaWorldModesEvaluator
from experiments_il.sim.modes_simulator import METAWORLD_MODES
from trainer_core.errors import UserError
from trainer_core.protocols import EvaluationContext


@pytest.fixture
def environment() -> Any:
    """Return the easiest task, at its first goal."""
    made = METAWORLD_MODES.make("reach-v3", 0)
    made.reset(0)
    yield made
    made.close()


def play(environment: DetourEnvironment, expert: str, seed: int = 0) -> bool:
    make = METAWORLD_MODES.expert_factory(expert)
    act = make(environment, np.random.default_rng(seed))
    for _ in range(120):
        outcome = environment.step(act(environment.state))
        if outcome.success or outcome.done:
            return outcome.success
    return False


@pytest.mark.parametrize("side", ["left", "right"])
def test_either_side_leads_to_the_goal(environment: DetourEnvironment, side: str) -> None:
    assert play(environment, side)
    assert environment.ways == {0: side}


def test_the_mean_of_the_ways_ends_in_the_obstacle(environment: DetourEnvironment) -> None:
    outcomes = [environment.step(np.array([0.0, 1, 0, 0])) for _ in range(12)]
    assert any(outcome.done for outcome in outcomes)
    assert not any(outcome.success for outcome in outcomes)
    assert environment.ways == {0: "off"}


def test_script_chooses_its_side_by_chance(environment: DetourEnvironment) -> None:
    make = METAWORLD_MODES.expert_factory("scripted")
    sides = set()
    for seed in range(8):
        act = make(environment, np.random.default_rng(seed))
        sides.add(float(np.sign(act(environment.state)[0])))
    assert sides == {-1.0, 1.0}


class _GoRight:
    """Moves at full speed to the right and ahead."""

    chunk = ChunkSettings(n_action_steps=4)
    observation_keys = ("observation.state",)
    horizon, action_dim, noise_shape = 4, 4, (4, 4)

    def act(self, observation: Any, noise: torch.Tensor | None = None) -> torch.Tensor:
        del noise
        action = torch.tensor([1.0, 1.0, 0.0, 0.0])
        return action.expand(len(observation["observation.state"]), 4, 4)


def test_evaluation_tells_the_way_of_each_episode(tmp_path: Path) -> None:
    evaluator = MetaWorldModesEvaluator(
        "reach-v3", episodes=3, max_steps=25, num_envs=2, video_episodes=0
    )
    trainer = SimpleNamespace(policy=lambda _normalizer: _GoRight())
    context = EvaluationContext(
        trainer, torch.nn.ModuleDict(), None, torch.device("cpu"), 0, tmp_path / "out", 0, True
    )
    result = evaluator.evaluate(context)
    assert (result["off_mode"], result["least_mode"], result["mode_entropy"]) == (0.0, 0.0, 0.0)
    ways = json.loads((tmp_path / "out/modes.json").read_text())
    assert ways == {"0": "right", "1": "right", "2": "right"}


def test_task_without_an_obstacle_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        MetaWorldModesEvaluator("reach-v4")
    assert str(caught.value) == (
        "there is no obstacle for the task 'reach-v4'; button-press-topdown-v3 and reach-v3 have "
        "one; did you mean 'reach-v3'?"
    )
