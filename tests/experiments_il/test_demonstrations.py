from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments_il.sim import demonstrations
from experiments_il.sim.demonstrations import MetaWorldDemonstrations
from trainer_core.errors import DatasetError
from trainer_core.protocols import DatasetFactory

SAMPLE = Path(__file__).parents[1] / "data/lerobot_v3_image/dataset"


def build(root: Path, **parameters: Any) -> dict[str, Any]:
    request: dict[str, Any] = {"task": "reach-v3", "root": str(root), "episodes": 2}
    return MetaWorldDemonstrations(**(request | parameters)).build({}, {})


def test_factory_is_what_the_engine_expects() -> None:
    assert isinstance(MetaWorldDemonstrations("reach-v3", "anywhere"), DatasetFactory)


def test_records_once_and_reads_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = {"action": [0, 16], "observation.state": [-1, 1]}
    first = build(tmp_path / "reach", windows=windows, normalize={"action": "min_max"})
    monkeypatch.setattr(
        demonstrations, "record_demonstrations", lambda *_, **__: pytest.fail("recorded again")
    )
    second = build(tmp_path / "reach", windows=windows, normalize={"action": "min_max"})
    assert first["norm_stats"] == second["norm_stats"]
    assert second["dataset"].features["action"].shape == (16, 4)
    assert second["dataset"].features["observation.state"].shape == (2, 39)
    recorded, *arrays = first["dataset"].written
    assert recorded == f"demonstrations in {tmp_path}/reach"
    assert arrays[0].startswith(f"arrays of the data in {tmp_path}/reach/.cache-trainer/")
    assert second["dataset"].written == ()


def test_validation_set_holds_whole_episodes(tmp_path: Path) -> None:
    built = build(tmp_path / "reach", val_fraction=0.5)
    assert len(built["dataset"].episodes) == len(built["val_dataset"].episodes) == 1


def test_other_recording_is_refused_with_its_differences(tmp_path: Path) -> None:
    root = tmp_path / "reach"
    build(root)
    with pytest.raises(DatasetError) as caught:
        build(root, task="push-v3", episodes=5)
    assert str(caught.value) == (
        f"{root}: was recorded with task 'reach-v3' instead of 'push-v3', episodes 2 instead of 5; "
        "choose another root, or remove this one to record again"
    )


def test_foreign_data_set_is_refused(tmp_path: Path) -> None:
    root = Path(shutil.copytree(SAMPLE, tmp_path / "sample"))
    with pytest.raises(DatasetError) as caught:
        build(root)
    assert str(caught.value) == (
        f"{root}: was not recorded by this factory (meta/recording.json is missing); "
        "read it with {_type_: lerobot}"
    )


def test_damaged_description_is_refused(tmp_path: Path) -> None:
    root = Path(shutil.copytree(SAMPLE, tmp_path / "sample"))
    (root / "meta/recording.json").write_text(json.dumps([1]))
    with pytest.raises(DatasetError) as caught:
        build(root)
    assert str(caught.value) == f"{root}/meta/recording.json: expected a mapping, found list"


def test_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not a LeRobotDataset, or its recording never ended"):
        build(tmp_path)


def test_batch_is_known_before_anything_is_recorded(tmp_path: Path) -> None:
    root = tmp_path / "reach"
    factory = MetaWorldDemonstrations("reach-v3", str(root), windows={"action": [0, 16]})
    batch = factory.describe_batch(2)
    assert batch is not None
    assert list(batch["action"].shape) == [2, 16, 4]
    assert list(batch["observation.state"].shape) == [2, 39]
    assert not root.exists()


def test_processes_of_a_run_record_once_together(tmp_path: Path) -> None:
    root = str(tmp_path / "data" / "reach")
    program = (
        "from experiments_il.sim.demonstrations import MetaWorldDemonstrations\n"
        f"made = MetaWorldDemonstrations('reach-v3', {root!r}, episodes=3, keys=['action'])\n"
        "print(len(made.build({}, {})['dataset']))"
    )
    command = [sys.executable, "-c", program]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1] != ""
