"""The samples that LeRobot 0.6.1 wrote, against what its own reader returned for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments_il.data.factory import LeRobotFactory

SAMPLES = Path(__file__).parents[2] / "data"
NAMES = ("lerobot_v3_image", "lerobot_v3_video")


def expected(name: str) -> dict[str, Any]:
    with np.load(SAMPLES / name / "expected.npz") as archive:
        return dict(archive)


def keys_of(name: str) -> list[str]:
    return [key for key in expected(name) if key != "rows"]


def read(name: str, folder: Path) -> dict[str, Any]:
    about = json.loads((SAMPLES / name / "about.json").read_text())
    root = shutil.copytree(SAMPLES / name / "dataset", folder / "dataset")
    keys = [key for key in keys_of(name) if not key.endswith("_is_pad")]
    factory = LeRobotFactory(str(root), delta_timestamps=about["delta_timestamps"], keys=keys)
    batch: dict[str, Any] = factory.build({}, {})["dataset"].__getitems__(expected(name)["rows"])
    return batch


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return {name: read(name, tmp_path_factory.mktemp(name)) for name in NAMES}


@pytest.mark.parametrize(("name", "key"), [(name, key) for name in NAMES for key in keys_of(name)])
def test_every_value_equals_the_one_lerobot_returned(
    batches: dict[str, dict[str, Any]], name: str, key: str
) -> None:
    wanted = expected(name)[key]
    found = batches[name][key]
    values = found.numpy() if isinstance(found, torch.Tensor) else np.array(found)
    assert values.dtype == wanted.dtype
    np.testing.assert_array_equal(values, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_batch_holds_no_other_keys(batches: dict[str, dict[str, Any]], name: str) -> None:
    assert sorted(batches[name]) == sorted(keys_of(name))
