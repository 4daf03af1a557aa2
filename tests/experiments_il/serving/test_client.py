"""Our client and openpi's own: actions one by one from chunks."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.experiments_il.serving import openpi_wire
from tests.experiments_il.serving.conftest import DESCRIPTION, Serve, state

from experiments_il.serving.client import PolicyClient, RefusedError

ALONE = """
import sys
for name in ("torch", "trainer_core", "policy_constructor"):
    sys.modules[name] = None
from experiments_il.serving.client import PolicyClient
print(PolicyClient.__name__)
"""


def openpi_client() -> Any:
    """Return openpi's own client where it is installed, else one by the facts of its format."""
    try:
        from openpi_client.websocket_client_policy import WebsocketClientPolicy
    except ImportError:
        return openpi_wire.WebsocketClientPolicy
    return WebsocketClientPolicy


@pytest.mark.filterwarnings("ignore:connect.. must be used as a context:DeprecationWarning")
@pytest.mark.parametrize(
    "client", [openpi_client(), openpi_wire.WebsocketClientPolicy], ids=["openpi", "facts"]
)
def test_public_client_of_openpi_works(serve: Serve, client: Any) -> None:
    policy = client("127.0.0.1", serve().port)
    assert policy.get_server_metadata()["action_horizon"] == 4
    answer = policy.infer({"observation.state": np.ones(3), "prompt": "pick it up"})
    assert answer["actions"].tolist() == [[3, 3], [4, 4], [5, 5], [6, 6]]
    assert answer["server_timing"]["infer_ms"] >= 0
    with pytest.raises(RuntimeError) as error:
        policy.infer({})
    assert str(error.value) == (
        "Error in inference server:\nObservationError: the observation has no observation.state; "
        "it has nothing"
    )
    assert policy.infer(state(2))["actions"][0, 0] == 6


def test_actions_come_one_by_one_and_chunks_when_they_are_spent(serve: Serve) -> None:
    running = serve()
    with PolicyClient(port=running.port) as policy:
        actions = [policy.act(state(value))[0] for value in (1, 2, 3, 4)]
    assert actions == [3, 4, 9, 10]
    assert running.policy.batches == [1, 1]


def test_client_keeps_frames_between_chunks(serve: Serve) -> None:
    running = serve(replace(DESCRIPTION, n_obs_steps=2))
    with PolicyClient(port=running.port, n_action_steps=1) as policy:
        assert policy.act(state(1))[0] == 1003
        assert policy.act(state(2))[0] == 1006
        policy.reset()
        assert policy.act(state(3))[0] == 1009


def test_error_of_the_server_is_raised(serve: Serve) -> None:
    with PolicyClient(port=serve().port) as policy, pytest.raises(RefusedError) as error:
        policy.act({"observation.stat": np.zeros(3)})
    assert str(error.value) == (
        "ObservationError: the policy reads no 'observation.stat'; did you mean "
        "'observation.state'? It reads observation.state"
    )


def test_client_needs_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "PolicyClient\n"
