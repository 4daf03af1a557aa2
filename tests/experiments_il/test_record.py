from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from experiments_il.data.column_store import ColumnStore
from experiments_il.data.lerobot_metadata import open_metadata
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.sim import record
from experiments_il.sim.record import RecordingPlan, RecordingProgress, record_demonstrations
from trainer_core.errors import DatasetError, StorageError, UserError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


ONE = RecordingPlan(task="reach-v3", episodes=1)
TWO = replace(ONE, episodes=2)


@pytest.fixture(scope="module")
def reach(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("recorded") / "reach"
    record_demonstrations(RecordingPlan(task="reach-v3", episodes=3), out)
    return out


def column(root: Path, name: str) -> NDArray[Any]:
    return ColumnStore(open_lerobot(root)).numbers(name)


def test_recording_is_a_data_set_of_successful_episodes(reach: Path) -> None:
    metadata = open_metadata(reach)
    assert (len(metadata.episodes), metadata.tasks, metadata.info.fps) == (3, ("reach-v3",), 20)
    assert metadata.info.features["observation.state"].shape == (39,)
    last = metadata.episodes.stop - 1
    assert column(reach, "next.success")[last].all()
    assert np.flatnonzero(column(reach, "next.done")).tolist() == last.tolist()


def test_episode_goes_on_five_steps_after_its_success(reach: Path) -> None:
    episodes = open_metadata(reach).episodes
    success = column(reach, "next.success")
    for start, stop in zip(episodes.start, episodes.stop, strict=True):
        assert np.argmax(success[start:stop]) == stop - start - 6


def test_recorded_actions_lie_in_the_action_space(reach: Path) -> None:
    actions = column(reach, "action")
    assert np.abs(actions).max() <= 1
    assert np.abs(actions).max() > 0.5


def test_goals_differ_between_episodes_and_not_within(reach: Path) -> None:
    goals = column(reach, "observation.state")[:, 36:]
    episode = column(reach, "episode_index")
    assert len(np.unique(goals, axis=0)) == 3
    assert all(len(np.unique(goals[episode == e], axis=0)) == 1 for e in range(3))


def test_same_seed_records_the_same_frames(reach: Path, tmp_path: Path) -> None:
    record_demonstrations(RecordingPlan(task="reach-v3", episodes=3), tmp_path / "again")
    for name in ("observation.state", "action"):
        np.testing.assert_array_equal(column(tmp_path / "again", name), column(reach, name))


def test_noise_moves_the_states_and_not_the_first_action(reach: Path, tmp_path: Path) -> None:
    record_demonstrations(RecordingPlan(task="reach-v3", episodes=1, noise=0.2), tmp_path / "noisy")
    clean, noisy = column(reach, "action"), column(tmp_path / "noisy", "action")
    np.testing.assert_array_equal(noisy[0], clean[0])
    assert not np.array_equal(noisy[1], clean[1])


def test_description_of_the_recording_is_kept(reach: Path) -> None:
    description = json.loads((reach / "meta/recording.json").read_text())
    description.pop("wall_s")
    assert description == {
        "version": 1,
        "simulator": "metaworld",
        "task": "reach-v3",
        "episodes": 3,
        "noise": 0.0,
        "seed": 0,
        "expert": "scripted",
        "frames": open_metadata(reach).info.total_frames,
        "dropped": 0,
    }


def test_failed_episodes_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_play = record._Demonstrations.play

    def play(self: record._Demonstrations, attempt: int) -> dict[str, NDArray[Any]] | None:
        return None if attempt % 2 == 0 else real_play(self, attempt)

    monkeypatch.setattr(record._Demonstrations, "play", play)
    told: list[RecordingProgress] = []
    recording = record_demonstrations(TWO, tmp_path / "out", told.append)
    assert (recording.episodes, recording.dropped) == (2, 2)
    assert [(done.episodes, done.dropped) for done in told] == [(0, 1), (1, 1), (1, 2), (2, 2)]


def test_hopeless_script_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record._Demonstrations, "play", lambda *_: None)
    with pytest.raises(UserError) as caught:
        record_demonstrations(TWO, tmp_path / "out")
    assert str(caught.value) == (
        "the scripted policy of 'reach-v3' failed 22 times and succeeded 0 times; "
        "nothing was recorded. Less noise may help"
    )
    assert list(tmp_path.iterdir()) == []


def test_interrupted_recording_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(_progress: RecordingProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record_demonstrations(TWO, tmp_path / "out", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_empty_folder_may_be_recorded_into(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    record_demonstrations(ONE, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(open_metadata(tmp_path / "out").episodes) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"episodes": 0}, "episodes must be at least 1, got 0"),
        ({"noise": -0.1}, "noise must be a number of at least 0, got -0.1"),
        ({"noise": float("nan")}, "noise must be a number of at least 0, got nan"),
        ({"expert": "human"}, "Meta-World has no expert 'human'; there is scripted"),
        ({"cameras": {"a": "top"}}, "Meta-World has no camera 'top' (for a); there are topview, "),
        ({"task": "reach-v4"}, "Meta-World has no task 'reach-v4'; did you mean 'reach-v3'"),
    ],
)
def test_wrong_request_is_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        record_demonstrations(replace(ONE, **arguments), tmp_path / "out")
    assert str(caught.value).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_folder_in_use_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError) as caught:
        record_demonstrations(ONE, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: already exists and is not empty; choose another folder, or remove it"
    )


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        record_demonstrations(ONE, tmp_path / "file" / "out")
    assert str(caught.value) == (
        f"{tmp_path}/file/out: cannot be written: {tmp_path}/file: File exists"
    )


def test_pictures_are_recorded_beside_what_the_robot_feels(tmp_path: Path) -> None:
    cameras = {"observation.images.top": "topview", "observation.images.corner": "corner2"}
    record_demonstrations(replace(ONE, cameras=cameras, image_size=(24, 32)), tmp_path / "out")
    store = ColumnStore(open_lerobot(tmp_path / "out"))
    pictures = store.frames("observation.images.corner")
    assert (pictures.dtype.name, pictures.shape[1:]) == ("uint8", (3, 24, 32))
    assert np.abs(np.diff(pictures.astype(float), axis=0)).max() > 20
    felt, whole = store.numbers("observation.proprioception"), store.numbers("observation.state")
    np.testing.assert_array_equal(felt, whole[:, :4])
