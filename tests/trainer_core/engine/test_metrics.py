from __future__ import annotations

import json

import torch

from trainer_core.engine.metrics import MetricWindow, numbers_of


def test_window_gives_means_and_begins_anew() -> None:
    window = MetricWindow()
    window.add({"loss": torch.tensor(1.0), "lr": 3})
    window.add({"loss": torch.tensor(2.0, dtype=torch.bfloat16), "rare": torch.ones(2)})
    assert window.mean() == {"loss": 1.5, "lr": 3.0, "rare": 1.0}
    assert window.mean() == {}


def test_interrupted_window_gives_the_same_mean() -> None:
    values = torch.rand(9)
    whole, before, after = MetricWindow(), MetricWindow(), MetricWindow()
    for value in values:
        whole.add({"loss": value})
    for value in values[:4]:
        before.add({"loss": value})
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    for value in values[4:]:
        after.add({"loss": value})
    assert after.mean() == whole.mean()


def test_numbers_of_a_result_are_picked_out() -> None:
    result = {"success_rate": 0.5, "n": 4, "ci95": [0.1, 0.9], "task": "reach", "ok": True}
    assert numbers_of(result, "eval/") == {
        "eval/success_rate": 0.5,
        "eval/n": 4.0,
        "eval/ci95_low": 0.1,
        "eval/ci95_high": 0.9,
    }
