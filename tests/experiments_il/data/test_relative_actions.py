"""Relative actions are differences to the current state in the batch, and absolute when acted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.experiments_il.data.synthetic import write_lerobot

from experiments_il.data.factory import LeRobotFactory
from experiments_il.data.mixture import MixtureFactory
from experiments_il.data.relative_actions import absolute_chunk
from experiments_il.policy import FlowMatchingPolicy
from experiments_il.regression import RegressionPolicy
from trainer_core.errors import DatasetError
from trainer_core.normalize import Normalizer

if TYPE_CHECKING:
    from pathlib import Path

KEYS: dict[str, Any] = {
    "windows": {"action": [0, 4], "observation.state": [-1, 1]},
    "keys": ["observation.velocity"],
}
DIMS: list[int | None] = [2, None, 0]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lerobot(tmp_path_factory.mktemp("relative") / "set", (5, 1, 12)).root


def build(root: Path, mode: str = "identity", **spec: Any) -> dict[str, Any]:
    relative = {"action": {"dims": DIMS, **spec}}
    normalize: Any = {"action": mode, "observation.state": "mean_std"}
    return LeRobotFactory(str(root), relative_actions=relative, normalize=normalize, **KEYS).build(
        {}, {}
    )


def whole(dataset: Any) -> dict[str, Any]:
    batch: dict[str, Any] = dataset.__getitems__(range(len(dataset)))
    return batch


def test_chosen_dimensions_are_differences_and_the_others_stay(root: Path) -> None:
    plain = whole(LeRobotFactory(str(root), **KEYS).build({}, {})["dataset"])
    found = whole(build(root)["dataset"])
    state = plain["observation.state"][:, -1]
    expected = plain["action"].clone()
    expected[..., 0] -= state[:, None, 2]
    expected[..., 2] -= state[:, None, 0]
    torch.testing.assert_close(found.pop("action"), expected, rtol=0, atol=0)
    for key, values in found.items():
        torch.testing.assert_close(values, plain[key], rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["mean_std", "min_max", "quantiles", "identity"])
def test_policy_acts_in_the_units_of_the_data(root: Path, mode: str) -> None:
    plain = whole(LeRobotFactory(str(root), **KEYS).build({}, {})["dataset"])
    built = build(root, mode)
    batch = whole(built["dataset"])
    normalizer = Normalizer(json.loads(json.dumps(built["norm_stats"])))
    chunk = normalizer.unnormalize("action", normalizer.normalize(batch)["action"])
    absolute = absolute_chunk(normalizer, "action", chunk, batch)
    torch.testing.assert_close(absolute, plain["action"], rtol=0, atol=2e-6)


def test_statistics_are_those_of_relative_chunks_without_padding(root: Path) -> None:
    built = build(root, "mean_std")
    batch = whole(built["dataset"])
    steps = batch["action"][~batch["action_is_pad"]].double()
    np.testing.assert_allclose(built["norm_stats"]["action"]["mean"], steps.mean(0), atol=1e-6)
    deviation = steps.std(0, correction=0)
    np.testing.assert_allclose(built["norm_stats"]["action"]["std"], deviation, atol=1e-6)


@pytest.mark.parametrize("kind", [FlowMatchingPolicy, RegressionPolicy])
def test_policy_asks_for_the_state_it_is_relative_to(root: Path, kind: Any) -> None:
    class Still:
        action_dim, horizon = 3, 4

        def cache(self, memory: torch.Tensor) -> Any:
            return memory

        def step(self, x_t: torch.Tensor, t: torch.Tensor, cache: Any) -> torch.Tensor:
            del t, cache
            return torch.zeros_like(x_t)

    normalizer = Normalizer(build(root)["norm_stats"])
    policy = kind(
        lambda seen: seen["observation.velocity"][:, -1:],
        Still(),
        normalizer,
        observation_keys=("observation.velocity",),
    )
    assert policy.observation_keys == ("observation.velocity", "observation.state")
    state = torch.arange(8.0).reshape(1, 2, 4)
    seen = {"observation.velocity": torch.zeros(1, 2, 2), "observation.state": state}
    chunk = policy.act(seen, noise=torch.zeros(1, 4, 3))
    assert chunk[0].tolist() == [[6.0, 0.0, 4.0]] * 4
    with pytest.raises(DatasetError, match=r"'action' is relative to 'observation\.state', which"):
        absolute_chunk(normalizer, "action", chunk, {})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"dims": None}, "has 3 dimensions, 'observation.state' 4: say with 'dims' which"),
        ({"dims": [0, 1]}, "relative_actions.action: 3 dimensions, 'dims' has 2 entries"),
        ({"dims": [0, 1, 4]}, "'dims' names 4; 'observation.state' has the dimensions 0 to 3"),
        ({"dims": [0, 1, 2.0]}, "'dims' names 2.0; 'observation.state' has the dimensions 0 to 3"),
        ({"dims": 3}, "'dims' is 3, expected a list of numbers and null"),
        ({"refrence": "x"}, "there is no 'refrence'; it has reference and dims"),
        ({"reference": "observation.stat"}, "no key 'observation.stat'; did you mean"),
        ({"reference": "next.done"}, "'next.done' is bool [1], expected a vector of floats"),
    ],
)
def test_what_does_not_fit_is_said(root: Path, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        build(root, **spec)
    assert str(caught.value).startswith(f"{root}: relative_actions")
    assert message in str(caught.value)


def test_window_of_the_reference_must_end_now(root: Path) -> None:
    keys: dict[str, Any] = {"windows": {"action": [0, 4], "observation.state": [0, 2]}}
    with pytest.raises(DatasetError, match="must end with the current frame, found \\[0, 1\\]"):
        LeRobotFactory(str(root), relative_actions={"action": {"dims": DIMS}}, **keys).build({}, {})


def test_mixture_keeps_what_is_relative(root: Path) -> None:
    def member(dims: list[int | None]) -> LeRobotFactory:
        return LeRobotFactory(
            str(root),
            relative_actions={"action": {"dims": dims}},
            normalize={"action": "min_max"},
            **KEYS,
        )

    built = MixtureFactory({"a": member(DIMS), "b": member(DIMS)}, pad={"action": 4}).build({}, {})
    assert built["norm_stats"]["action"]["relative"] == {
        "reference": "observation.state",
        "dims": [2, None, 0, None],
    }
    with pytest.raises(DatasetError, match="relative in another way in 'a' than in 'b'"):
        MixtureFactory({"a": member(DIMS), "b": member([0, 1, 2])}).build({}, {})
