"""What log lines tell of the rollouts."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer_ray.online.gauges import Gauges

BUFFER: dict[str, Any] = {
    "episodes": 3,
    "frames": 24,
    "refused": 1,
    "frames_added": 40,
    "recent_success_rate": 0.5,
}


def test_the_age_of_samples_leaves_out_who_has_no_policy_of_ours() -> None:
    gauges = Gauges(dict, dict, lambda: 0.0)
    gauges.note_versions(np.array([4, 6, -1]), step=10)
    gauges.note_versions(np.array([-1]), step=11)
    assert gauges.read(12)["online/staleness"] == 5.0
    assert "online/staleness" not in gauges.read(13)


def test_weights_of_a_future_that_was_given_up_are_not_old() -> None:
    gauges = Gauges(dict, lambda: {"rollout-0": 40}, lambda: 0.0)
    gauges.note_versions(np.array([40, 8]), step=10)
    found = gauges.read(10)
    assert (found["online/staleness"], found["online/policy_lag"]) == (1.0, 0.0)


def test_the_rate_is_left_out_until_it_is_known() -> None:
    described: dict[str, Any] = {}
    gauges = Gauges(lambda: described, dict, lambda: 0.0)
    gauges.begin_rollouts()
    described |= BUFFER
    assert "online/rollout_frames_per_s" not in gauges.read(1)
    assert gauges.read(2)["online/rollout_frames_per_s"] == 0.0


def test_the_lag_is_to_the_newest_weights_that_act() -> None:
    gauges = Gauges(lambda: BUFFER, lambda: {"rollout-0": 4, "rollout-1": 7}, lambda: 0.0)
    found = gauges.read(10)
    assert (found["online/policy_lag"], found["online/workers"]) == (3.0, 2.0)
    assert (found["online/episodes"], found["online/frames"]) == (3.0, 24.0)
    assert (found["online/refused"], found["online/success_rate"]) == (1.0, 0.5)


def test_rates_are_those_since_the_last_line() -> None:
    described, waited = dict(BUFFER), [0.0]
    gauges = Gauges(lambda: described, dict, lambda: waited[0])
    assert "online/rollout_frames_per_s" not in gauges.read(1)
    described["frames_added"] += 10
    gauges.begin_rollouts()
    assert gauges.read(1)["online/rollout_frames_per_s"] == 0.0
    described["frames_added"] += 10
    found = gauges.read(2)
    assert found["online/rollout_frames_per_s"] > 0.0
    assert found["online/wait_share"] == 0.0
