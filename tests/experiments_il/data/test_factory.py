from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from experiments_il.data.factory import LeRobotFactory
from experiments_il.data.window_factory import split_episodes
from policy_constructor.errors import ConfigError
from trainer_core.errors import DatasetError, MissingPackageError
from trainer_core.protocols import DatasetFactory

if TYPE_CHECKING:
    from pathlib import Path

    from tests.experiments_il.data.conftest import MakeDataset

ENGINE = {"local_rank": 0, "dist_enabled": False, "save_dir": ""}


def build(root: Path, **parameters: Any) -> dict[str, Any]:
    return LeRobotFactory(str(root), **parameters).build(ENGINE, {})


def test_factory_is_what_the_engine_expects() -> None:
    assert isinstance(LeRobotFactory("anywhere"), DatasetFactory)


def test_frames_and_seconds_make_the_same_windows(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    frames = build(root, windows={"action": [-1, 2]})["dataset"]
    seconds = build(root, delta_timestamps={"action": [-0.1, 0.0, 0.1]})["dataset"]
    assert frames.__getitems__([5])["action"].tolist() == [[2.5, 2.5, 3.0]]
    assert seconds.__getitems__([5])["action"].tolist() == [[2.5, 2.5, 3.0]]


def test_statistics_are_given_for_keys_of_the_batch_only(make_dataset: MakeDataset) -> None:
    normalize = {"action": "mean_std", "observation.state": "min_max"}
    built = build(make_dataset((3,)), keys=["action"], normalize=normalize)
    assert list(built["norm_stats"]) == ["action"]
    assert built["norm_stats"]["action"]["mean"] == [0.5]


def test_validation_takes_whole_episodes(make_dataset: MakeDataset) -> None:
    built = build(make_dataset([2] * 10), val_fraction=0.2)
    train, val = built["dataset"].episodes, built["val_dataset"].episodes
    assert (len(train), len(val)) == (8, 2)
    assert sorted(train + val) == list(range(10))


def test_validation_splits_the_chosen_episodes(make_dataset: MakeDataset) -> None:
    built = build(make_dataset([2] * 6), val_fraction=0.5, episodes=[1, 3])
    assert sorted(built["dataset"].episodes + built["val_dataset"].episodes) == [1, 3]


def test_one_episode_cannot_be_split(make_dataset: MakeDataset) -> None:
    root = make_dataset((4,))
    with pytest.raises(DatasetError) as caught:
        build(root, val_fraction=0.1)
    assert str(caught.value) == f"{root}: val_fraction needs at least two episodes, found 1"


@pytest.mark.parametrize(("total", "fraction", "count"), [(2, 0.01, 1), (2, 0.99, 1), (10, 0.3, 3)])
def test_both_sides_of_a_split_have_an_episode(total: int, fraction: float, count: int) -> None:
    train, val = split_episodes(range(total), fraction, seed=0)
    assert (len(train), len(val)) == (total - count, count)


def test_more_episodes_move_few_to_the_other_side() -> None:
    _train, before = split_episodes(range(100), 0.2, seed=1)
    _train, after = split_episodes(range(110), 0.2, seed=1)
    assert len(set(before) - set(after)) <= 4


def test_other_seed_makes_another_split() -> None:
    assert split_episodes(range(50), 0.2, 0) != split_episodes(range(50), 0.2, 1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"windows": {"action": [3, 3]}},
            (
                "error: data.windows.action: "
                "expected two integers [start, stop] with start < stop, found [3, 3]"
            ),
        ),
        (
            {"windows": {"action": [0, 1, 2]}},
            (
                "error: data.windows.action: "
                "expected two integers [start, stop] with start < stop, found [0, 1, 2]"
            ),
        ),
        (
            {"delta_timestamps": {"action": []}},
            "error: data.delta_timestamps.action: expected at least one time difference",
        ),
        (
            {"windows": {"a": [0, 1]}, "delta_timestamps": {"a": [0.0]}},
            "error: data.windows.a: is given in windows and in delta_timestamps; keep one of them",
        ),
        (
            {"val_fraction": 1.0},
            "error: data.val_fraction: expected a number in [0, 1), found 1.0",
        ),
    ],
)
def test_wrong_parameter_is_located(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LeRobotFactory("anywhere", **parameters)
    assert str(caught.value) == message


def test_unknown_key_to_normalize_names_the_nearest(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    with pytest.raises(DatasetError) as caught:
        build(root, normalize={"actoin": "min_max"})
    assert str(caught.value) == (
        f"{root}: normalize: the data set has no key 'actoin'; did you mean 'action'?"
    )


def test_columns_are_kept_where_the_user_says(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = make_dataset()
    build(root, cache_dir=str(tmp_path / "cache"))
    assert not (root / ".cache-trainer").exists()
    assert list((tmp_path / "cache").rglob("index.json"))


def test_missing_pyarrow_names_the_install_line(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_dataset()
    for name in [name for name in sys.modules if name.startswith("experiments_il.data.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError) as caught:
        build(root)
    assert str(caught.value) == (
        "reading and writing LeRobot data sets needs a package that is not installed: "
        "pip install 'experiments-il[lerobot]'"
    )


def test_described_batch_is_the_real_one_without_numbers(make_dataset: MakeDataset) -> None:
    parameters: dict[str, Any] = {"windows": {"action": [-1, 2]}}
    root = make_dataset((3,))
    described = LeRobotFactory(str(root), **parameters).describe_batch(2)
    real = build(root, **parameters)["dataset"].__getitems__([0, 1])
    assert described is not None
    assert {key: list(value.shape) for key, value in described.items()} == {
        key: list(value.shape) for key, value in real.items()
    }
    assert all(value.device.type == "meta" for value in described.values())


def test_batch_of_a_missing_data_set_is_not_described(tmp_path: Path) -> None:
    assert LeRobotFactory(str(tmp_path / "nowhere")).describe_batch(2) is None


def test_unknown_key_is_found_without_reading_data(make_dataset: MakeDataset) -> None:
    factory = LeRobotFactory(str(make_dataset()), keys=["actoin"])
    with pytest.raises(DatasetError, match="the data set has no key 'actoin'; did you mean"):
        factory.describe_batch(2)
