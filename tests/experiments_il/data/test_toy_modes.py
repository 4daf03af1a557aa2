"""The toy of several ways: its data, what tells the ways apart, and its evaluator."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments_il.action_queue import ChunkSettings
from experiments_il.data.toy_modes import ToyModes, mode_of, mode_paths, share_modes
from experiments_il.data.toy_shapes import describe
from experiments_il.sim.toy_modes import ToyModesEvaluator
from trainer_core.errors import UserError
from trainer_core.protocols import EvaluationContext


@pytest.mark.parametrize("modes", [2, 4])
def test_ways_are_taken_alike_and_recognised(modes: Any) -> None:
    built = ToyModes(modes, size=4000).build({}, {})
    chunks = built["dataset"].columns["action"]
    found = share_modes(mode_of(chunks, modes), modes)
    assert found.off_mode == pytest.approx(0)
    assert found.shares == pytest.approx([1 / modes] * modes, abs=0.03)
    assert found.entropy > 0.99


@pytest.mark.parametrize("modes", [2, 4])
def test_each_way_has_its_number_and_their_mean_none(modes: Any) -> None:
    paths = mode_paths(modes)
    assert mode_of(paths, modes).tolist() == list(range(modes))
    assert mode_of(paths.mean(0, keepdim=True), modes).tolist() == [-1]


def test_one_way_has_no_entropy() -> None:
    found = share_modes(torch.tensor([1, 1, -1, 1]), 2)
    assert found == ((0.0, 0.75), 0.25, 0.0)
    assert share_modes(torch.tensor([-1]), 2) == ((0.0, 0.0), 1.0, 0.0)


def test_chunks_depend_on_the_seed_alone() -> None:
    columns = [ToyModes(2, 50, seed=seed).build({}, {})["dataset"].columns for seed in (3, 3, 4)]
    assert torch.equal(columns[0]["action"], columns[1]["action"])
    assert not torch.equal(columns[0]["action"], columns[2]["action"])


def test_batches_are_as_described() -> None:
    toy = ToyModes(size=10)
    batch = toy.build({}, {})["dataset"].__getitems__(np.arange(4))
    described = {key: tuple(value.shape) for key, value in toy.describe_batch(4).items()}
    assert {key: tuple(value.shape) for key, value in batch.items()} == described
    assert {key: shape[1:] for key, shape in described.items()} == describe({}, lambda *_: None)


class _Straight:
    """Takes the ways with enough steps, and their mean with one."""

    chunk = ChunkSettings(n_action_steps=8)
    observation_keys: tuple[str, ...] = ("observation.state",)
    horizon, action_dim, noise_shape = 8, 2, (8, 2)
    num_inference_steps = 5

    def act(self, observation: Any, noise: Tensor | None = None) -> Tensor:
        del observation
        assert noise is not None
        side = (noise[:, 0, 0] > 0).long()
        return mode_paths(2)[side] * (self.num_inference_steps > 1)


def context(folder: Path, policy: Any) -> EvaluationContext:
    trainer = SimpleNamespace(policy=lambda _normalizer: policy)
    return EvaluationContext(
        trainer, torch.nn.ModuleDict(), None, torch.device("cpu"), 0, folder, 0, True
    )


def test_evaluation_measures_with_each_number_of_steps(tmp_path: Path) -> None:
    result = ToyModesEvaluator(2, 400, [1, 10]).evaluate(context(tmp_path, _Straight()))
    assert (result["off_mode_1"], result["mode_entropy_1"]) == (1.0, 0.0)
    assert result["off_mode_10"] == pytest.approx(0)
    assert result["least_mode_10"] > 0.4
    assert (result["success_rate"], result["n"]) == (1.0, 400)
    table = json.loads((tmp_path / "modes.json").read_text())
    assert table["steps"]["10"]["entropy"] == result["mode_entropy_10"]
    assert np.load(tmp_path / "chunks.npz")["steps_10"].shape == (400, 8, 2)


def test_policy_of_another_task_is_refused(tmp_path: Path) -> None:
    policy = _Straight()
    policy.observation_keys = ("observation.images.top",)
    with pytest.raises(UserError) as caught:
        ToyModesEvaluator().evaluate(context(tmp_path, policy))
    assert str(caught.value) == (
        "the toy has chunks of 8 actions of 2 dimensions and shows observation.state alone; the "
        "policy has chunks of 8 of 2 and sees observation.images.top"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ToyModes(3), "data.modes must be 2 or 4, got 3"),  # type: ignore[arg-type]
        (
            lambda: ToyModes(size=0),
            "data.size must be at least 1 and data.noise 0, got 0 and 0.03",
        ),
        (
            lambda: ToyModesEvaluator(sampling_steps=[0]),
            (
                "evaluation.samples and each of evaluation.sampling_steps must be at least 1, got "
                "2000 and [0]"
            ),
        ),
    ],
)
def test_values_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        make()
    assert str(caught.value) == message
