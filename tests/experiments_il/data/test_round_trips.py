"""What is converted to another format and back is what it was, for random features."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.experiments_il.data.damaged import LENGTHS, write_healthy

from experiments_il.data.episode_stream import own_features, stream_episodes
from experiments_il.data.export import FORMATS, export
from experiments_il.data.fault_finding import find_faults
from experiments_il.data.formats import open_any
from experiments_il.data.lerobot_source import open_lerobot
from experiments_il.data.writer import LeRobotWriter
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from experiments_il.data.source import FrameSource

NUMBERS = st.sampled_from(["float32", "float64", "int64", "uint8", "bool"])
SHAPES = st.lists(st.integers(1, 3), min_size=1, max_size=2)
"""Arrays of three dimensions per frame may look like images to formats that do not tell."""
NAMES = st.sampled_from(["state", "velocity", "pose.left", "größe", "qpos_"])
NEXT: dict[str, dict[str, Any]] = {
    "next.reward": {"dtype": "float32", "shape": [1]},
    "next.done": {"dtype": "bool", "shape": [1]},
}
_number = itertools.count()


def spec(dtype: str, shape: list[int]) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape}


FEATURES = st.fixed_dictionaries(
    {"action": st.builds(spec, st.just("float32"), SHAPES)},
    optional={
        "observation.images.top": st.just(spec("image", [3, 5, 3])),
        "observation.images.grey": st.just(spec("image", [4, 2, 1])),
        **{name: st.just(each) for name, each in NEXT.items()},
    },
)
OBSERVATIONS = st.dictionaries(
    NAMES.map("observation.{}".format), st.builds(spec, NUMBERS, SHAPES), max_size=3
)


def write(root: Path, features: dict[str, Any], lengths: list[int], seed: int) -> FrameSource:
    random = np.random.default_rng(seed)
    with LeRobotWriter.create(root, fps=10, features=features) as writer:
        for length in lengths:
            writer.add_episode(
                {
                    name: _values(random, each["dtype"], (length, *each["shape"]))
                    for name, each in features.items()
                },
                "push",
            )
    return open_lerobot(root)


def _values(random: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> Any:
    if dtype in {"uint8", "image"}:
        return random.integers(0, 256, shape, np.uint8)
    return (
        random.normal(size=shape).astype(dtype) if dtype != "bool" else random.random(shape) > 0.5
    )


def everything(source: FrameSource) -> list[tuple[list[str], dict[str, Any]]]:
    return [(episode.tasks, episode.values) for episode in stream_episodes(source)]


@pytest.mark.parametrize("kind", sorted(FORMATS))
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    features=FEATURES,
    observations=OBSERVATIONS,
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_conversion_there_and_back_changes_nothing(
    tmp_path: Path,
    kind: str,
    features: dict[str, Any],
    observations: dict[str, Any],
    lengths: list[int],
    seed: int,
) -> None:
    folder = tmp_path / str(next(_number))
    source = write(folder / "a", features | observations, lengths, seed)
    other = folder / ("b.hdf5" if kind == "robomimic" else "b")
    assert set(export(source, other, kind)) <= {"task"}
    between = open_any(other, fps=10, task="push")
    export(between, folder / "c", "lerobot")
    again = open_lerobot(folder / "c")
    assert own_features(again).keys() == own_features(source).keys()
    for (_tasks, found), (_wanted, values) in zip(
        everything(again), everything(source), strict=True
    ):
        for name, expected in values.items():
            np.testing.assert_array_equal(found[name], expected, err_msg=f"{kind} {name}")
            assert found[name].dtype == expected.dtype


def test_versions_of_lerobot_keep_strings_and_tasks(tmp_path: Path) -> None:
    features = {"action": spec("float32", [2]), "words": spec("string", [1])}
    with LeRobotWriter.create(tmp_path / "a", fps=10, features=features) as writer:
        for task in ("open the drawer", "stör"):
            words = [f"{task} {n}" for n in range(3)]
            writer.add_episode({"action": np.zeros((3, 2), np.float32), "words": words}, task)
    source = open_lerobot(tmp_path / "a")
    assert export(source, tmp_path / "b", "lerobot-v2.1") == []
    found = open_lerobot(tmp_path / "b")
    assert (found.kind, found.tasks) == ("LeRobotDataset v2.1", source.tasks)
    for (tasks, values), (wanted, expected) in zip(
        everything(found), everything(source), strict=True
    ):
        assert (tasks, values["words"]) == (wanted, expected["words"])


def test_version_two_has_the_statistics_of_each_episode(tmp_path: Path) -> None:
    source = open_lerobot(write_healthy(tmp_path / "a"))
    export(source, tmp_path / "b", "lerobot-v2.1")
    found, expected = open_lerobot(tmp_path / "b").statistics(), source.statistics()
    for name in ("action", "observation.state", "observation.images.top"):
        for key in ("min", "max", "mean", "std"):
            np.testing.assert_allclose(found[name][key], expected[name][key], rtol=1e-6, atol=1e-9)


def test_robomimic_gets_a_mask_of_all_demonstrations(tmp_path: Path) -> None:
    path = write_healthy(tmp_path / "demos.hdf5", "robomimic")
    from experiments_il.data.robomimic import open_robomimic

    assert open_robomimic(path).filtered("train") == list(range(len(LENGTHS)))


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_what_is_there_is_not_overwritten(tmp_path: Path, kind: str) -> None:
    source = open_lerobot(write_healthy(tmp_path / "a"))
    target = tmp_path / "mine"
    target.write_text("mine")
    with pytest.raises(DatasetError) as caught:
        export(source, target, kind)
    assert str(caught.value) == f"{target}: already exists"
    assert target.read_text() == "mine"


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_conversion_that_fails_leaves_nothing(tmp_path: Path, kind: str) -> None:
    source = open_lerobot(write_healthy(tmp_path / "a"))

    def stop(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(source, tmp_path / "out" / "b.hdf5", kind, stop)
    assert list((tmp_path / "out").iterdir()) == []


def test_killed_conversion_shows_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    source, target = write_healthy(tmp_path / "a"), tmp_path / "out" / "b"
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from experiments_il.data.export import export\n"
        "from experiments_il.data.lerobot_source import open_lerobot\n"
        "source = open_lerobot(Path(sys.argv[1]))\n"
        "export(source, Path(sys.argv[2]), 'lerobot-v2.1', lambda done: time.sleep(60))\n"
    )
    command = [sys.executable, "-c", code, str(source), str(target)]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while not list(target.parent.glob(".writing-*/b/data/chunk-000/*.parquet")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert not target.exists()
    export(open_lerobot(source), target, "lerobot-v2.1")
    assert [path.name for path in target.parent.iterdir()] == ["b"]
    assert find_faults(target) == []
