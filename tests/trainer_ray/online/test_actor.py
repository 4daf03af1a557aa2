"""The buffer as an actor of a real cluster, its clients, and its kills."""

from __future__ import annotations

import os
import signal
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.faults.replay_actor import kill_often

from trainer_core.errors import TrainerError, UserError
from trainer_ray.cluster import import_ray
from trainer_ray.mailbox import NAMESPACE
from trainer_ray.online.buffer_actor import start_buffer
from trainer_ray.online.client import ReplayClient, ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.trainer_ray.online.conftest import MakeEpisode

KEYS: dict[str, dict[str, Any]] = {
    "action": {"shape": [2], "dtype": "float32", "offsets": [0, 1, 2]},
    "frame": {"shape": [], "dtype": "int64", "offsets": None},
}
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def ray(address: str) -> Iterator[Any]:
    """Ray, connected to the cluster of the tests."""
    module = import_ray()
    module.init(address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    yield module
    module.shutdown()


@pytest.fixture
def name(ray: Any, tmp_path: Path) -> Iterator[str]:
    """The name of an actor that has ended when the test ends."""
    used = f"buffer of {tmp_path.name}"
    yield used
    try:
        ray.kill(ray.get_actor(used, namespace=NAMESPACE), no_restart=True)
    except ValueError:
        return


def _start(name: str, folder: Path, **options: Any) -> Any:
    given = {"keys": KEYS, "capacity": 100, "lock_patience_s": 0.1, **options}
    return start_buffer(str(folder / "replay"), name=name, timeout_s=LIMIT_S, **given)


def test_a_client_adds_what_the_learner_samples(
    name: str, tmp_path: Path, episode: MakeEpisode
) -> None:
    actor = _start(name, tmp_path)
    client = ReplayClient("arm", name=name, patience_s=LIMIT_S)
    answer = client.add([episode(0, 2), episode(error="the arm fell")])
    assert answer["refused"] == [{"episode": 1, "reason": "the producer says: the arm fell"}]
    windows = ask(actor, "sample", 50, 0, timeout_s=LIMIT_S)["windows"]
    assert set(windows["frame"].tolist()) == {0, 1}
    assert client.describe()["keys"] == KEYS


def test_what_is_no_list_of_episodes_is_refused_and_forgotten(
    name: str, tmp_path: Path, episode: MakeEpisode
) -> None:
    actor = _start(name, tmp_path)
    client = ReplayClient("arm", name=name, patience_s=LIMIT_S)
    with pytest.raises(UserError) as caught:
        client.add(episode())  # type: ignore[arg-type] # the mistake
    assert str(caught.value) == "replay buffer: an add is a list of episodes, not a dict"
    with pytest.raises(TypeError):
        client.add([{"columns": {"action": (frame for frame in "no array")}}])
    assert client.add([episode()])["kept"] == 1
    assert ask(actor, "last_number", "arm", timeout_s=LIMIT_S) == client.last_number


def test_a_killed_buffer_comes_back_and_a_producer_goes_on(
    name: str, tmp_path: Path, episode: MakeEpisode
) -> None:
    actor = _start(name, tmp_path)
    client = ReplayClient("arm", name=name, patience_s=LIMIT_S)
    client.add([episode()])
    os.kill(ask(actor, "pid", timeout_s=LIMIT_S), signal.SIGKILL)
    assert client.add([episode(10)])["kept"] == 1
    assert ReplayClient("arm", name=name).last_number == 1
    assert client.describe()["frames"] == 8


def test_an_actor_of_that_name_is_joined_if_its_keys_are_the_same(
    name: str, tmp_path: Path, episode: MakeEpisode
) -> None:
    actor = _start(name, tmp_path)
    ask(actor, "add", "arm", 0, [episode()], timeout_s=LIMIT_S)
    assert ask(_start(name, tmp_path), "describe", timeout_s=LIMIT_S)["frames"] == 4
    with pytest.raises(UserError, match=f"the actor '{name}' holds episodes of other keys: "):
        _start(name, tmp_path, keys={"frame": KEYS["frame"]})


def test_what_keeps_a_buffer_shut_is_told_and_then_forgotten(
    ray: Any, name: str, tmp_path: Path
) -> None:
    (tmp_path / "replay").write_text("")
    with pytest.raises(TrainerError) as caught:
        _start(name, tmp_path)
    assert str(caught.value) == f"cannot write {tmp_path}/replay: File exists"
    (tmp_path / "replay").unlink()
    assert ask(_start(name, tmp_path), "describe", timeout_s=LIMIT_S)["frames"] == 0


def test_a_producer_without_a_buffer_is_told_who_has_one(name: str) -> None:
    with pytest.raises(TrainerError) as caught:
        ReplayClient("arm", name=name, patience_s=0.2)
    assert str(caught.value) == (
        f"there is no replay buffer {name!r} in the namespace 'trainer' of this cluster; a run "
        "with `runner: {_type_: ray_online}` has one"
    )


def test_what_was_not_acknowledged_is_sent_with_the_next_add(
    ray: Any, name: str, tmp_path: Path, episode: MakeEpisode
) -> None:
    actor = _start(name, tmp_path)
    client = ReplayClient("arm", name=name, patience_s=0.5)
    ray.kill(actor, no_restart=True)
    with pytest.raises(TrainerError):
        client.add([episode(0, 2), episode(error="the arm fell")])
    actor = _start(name, tmp_path, lock_patience_s=10.0)
    client.patience_s = LIMIT_S
    answer = client.add([episode(10, 2)])
    (earlier,) = answer["earlier"]
    assert [earlier["number"], answer["number"]] == [0, 1]
    assert earlier["refused"] == [{"episode": 1, "reason": "the producer says: the arm fell"}]
    assert answer["refused"] == client.add([])["earlier"] == []
    assert (client.describe()["frames"], client.last_number) == (4, 2)


@pytest.mark.parametrize(
    "kills", [2, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_killed_at_random_nothing_acknowledged_is_lost_or_doubled(
    ray: Any, tmp_path: Path, kills: int
) -> None:
    done = kill_often(tmp_path, kills, Random(kills))
    assert (done.problem, len(done.back_s)) == ("", kills)
    assert done.acknowledged > 0
