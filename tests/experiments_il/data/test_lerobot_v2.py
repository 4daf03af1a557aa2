"""LeRobotDataset v2.1 and v2.0: the same samples in the older layout read the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.experiments_il.data.test_samples import NAMES, SAMPLES, expected, keys_of
from tests.experiments_il.data.v2_layout import write_v2

from experiments_il.data.factory import LeRobotFactory
from experiments_il.data.lerobot_metadata import open_metadata
from experiments_il.data.writer import LeRobotWriter
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.experiments_il.data.conftest import MakeDataset


def edit_info(root: Path, **changes: Any) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", NAMES)
def test_every_value_equals_the_one_of_v3(name: str, tmp_path: Path) -> None:
    root = write_v2(SAMPLES / name / "dataset", tmp_path / "v2")
    about = json.loads((SAMPLES / name / "about.json").read_text())
    keys = [key for key in keys_of(name) if not key.endswith("_is_pad")]
    factory = LeRobotFactory(str(root), delta_timestamps=about["delta_timestamps"], keys=keys)
    batch = factory.build({}, {})["dataset"].__getitems__(expected(name)["rows"])
    for key in keys_of(name):
        found = batch[key]
        values = found.numpy() if isinstance(found, torch.Tensor) else np.array(found)
        np.testing.assert_array_equal(values, expected(name)[key], key)


def test_statistics_of_the_episodes_are_merged(tmp_path: Path) -> None:
    source = SAMPLES / "lerobot_v3_video/dataset"
    wanted = open_metadata(source).stats
    found = open_metadata(write_v2(source, tmp_path / "v2")).stats
    assert found.keys() == wanted.keys()
    for statistic in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(found["action"][statistic], wanted["action"][statistic])


def test_v2_0_has_one_file_of_statistics(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = write_v2(make_dataset(), tmp_path / "v2")
    (root / "meta/episodes_stats.jsonl").unlink()
    (root / "meta/stats.json").write_text('{"action": {"mean": [3.5]}}')
    edit_info(root, codebase_version="v2.0")
    assert open_metadata(root).stats == {"action": {"mean": [3.5]}}


def test_quantiles_that_v2_lacks_are_computed(make_dataset: MakeDataset, tmp_path: Path) -> None:
    old = make_dataset((40, 30))
    new = write_v2(old, tmp_path / "v2")
    built = [
        LeRobotFactory(str(root), normalize={"observation.state": "quantiles"}).build({}, {})
        for root in (old, new)
    ]
    assert built[0]["norm_stats"] == built[1]["norm_stats"]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("episodes.jsonl", None, "{path}: missing; a data set of version 2 has it"),
        (
            "episodes.jsonl",
            '{"episode_index": 0, "length": 5}\n{"episode_index": 2, "length": 7}\n',
            "{path}: episode 1 is missing; info.json counts 3 episodes",
        ),
        (
            "episodes.jsonl",
            '{"episode_index": 0, "length": 5}\n\n{"episode_index": 0, "length": 5}\n',
            "{path}:3: episode_index 0 is there twice",
        ),
        (
            "episodes.jsonl",
            '{"episode_index": 0, "length": 0}\n',
            "{path}: episode 0 has length 0; expected 1 or more",
        ),
        (
            "episodes.jsonl",
            "".join(f'{{"episode_index": {n}, "length": 5}}\n' for n in range(3)),
            "{path}: episodes hold 15 frames, info.json counts 14",
        ),
        ("episodes.jsonl", "[]\n", "{path}:1: expected a mapping, found list"),
        (
            "tasks.jsonl",
            '{"task": "x"}\n',
            "{path}:1: expected a mapping with 'task_index' and 'task'",
        ),
        (
            "tasks.jsonl",
            '{"task_index": 1, "task": "x"}\n',
            "{path}: task_index must run from 0 to 0 without a gap",
        ),
    ],
)
def test_broken_metadata_names_file_and_line(
    file: str, text: str | None, message: str, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    root = write_v2(make_dataset((5, 3, 6)), tmp_path / "v2")
    path = root / "meta" / file
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(DatasetError) as caught:
        open_metadata(root)
    assert str(caught.value) == message.format(path=path)


def test_line_that_is_not_json_is_named(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = write_v2(make_dataset(), tmp_path / "v2")
    path = root / "meta/tasks.jsonl"
    path.write_text('{"task_index": 0, "task": "x"}\n{"task_ind')
    with pytest.raises(DatasetError, match=r"tasks\.jsonl:2: not JSON: "):
        open_metadata(root)


def test_missing_episode_file_is_named(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = write_v2(make_dataset(), tmp_path / "v2")
    path = root / "data/chunk-001/episode_000002.parquet"
    path.unlink()
    with pytest.raises(DatasetError) as caught:
        LeRobotFactory(str(root)).build({}, {})
    assert str(caught.value) == f"{path}: missing; the data set's metadata names this file"


def test_nothing_is_added_to_a_v2_data_set(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = write_v2(make_dataset(), tmp_path / "v2")
    with pytest.raises(DatasetError) as caught:
        LeRobotWriter.append(root)
    message = f"{root}: is LeRobotDataset v2.1; episodes can be added to v3.0 only"
    assert str(caught.value) == message
