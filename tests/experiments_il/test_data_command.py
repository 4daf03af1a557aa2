from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments_il.commands.data import main
from experiments_il.data.writer import LeRobotWriter
from experiments_il.sim.record import RecordingProgress
from experiments_il.sim.recording_display import recording_display
from trainer_core import cli

SAMPLE = Path(__file__).parents[1] / "data/lerobot_v3_image/dataset"
RECORD = ["data", "record", "metaworld", "--task", "reach-v3", "--episodes", "3", "--out"]


def copy_sample(folder: Path) -> str:
    return str(shutil.copytree(SAMPLE, folder / "sample"))


def test_record_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "reach"
    assert main([*RECORD[1:], str(out), "--noise", "0.1", "--seed", "3"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{out}: 3 episodes, ")
    assert captured.out.endswith("; 0 failed episodes were dropped\n")
    assert captured.err.splitlines() == [
        f"recording reach-v3: {n} of 3 episodes" for n in (1, 2, 3)
    ]
    description = json.loads((out / "meta/recording.json").read_text())
    assert (description["noise"], description["seed"]) == (0.1, 3)


def test_folder_in_use_exits_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert cli.main([*RECORD, str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path}: already exists and is not empty; choose another folder, or remove it\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_unknown_task_exits_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "record", "metaworld", "--task", "raech-v3", "--out", str(tmp_path / "out")]
    assert cli.main(command) == 2
    assert "Meta-World has no task 'raech-v3'; did you mean 'reach-v3'" in capsys.readouterr().err


def test_interrupt_leaves_nothing_half_written(tmp_path: Path) -> None:
    code = "import sys; from trainer_core import cli; sys.exit(cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *RECORD, str(tmp_path / "out"), "--episodes", "5000"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.recording-*/.writing-*/data-*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _out, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.decode() == "interrupted; nothing new was saved\n"
    assert list(tmp_path.iterdir()) == []


def test_info_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(SAMPLE)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{SAMPLE}: LeRobotDataset v3.0, 10 frames/s",
        "3 episodes of 12 to 30 frames (median 20), 62 frames",
        "tasks: pick the cube, open the drawer",
        "",
        "feature                 dtype    shape    min      max",
        "observation.state       float32  2        -0.9999  1",
        "action                  float32  2        0.02779  2.869",
        "next.reward             float32  1        0        0.9667",
        "next.done               bool     1        0        1",
        "observation.images.top  image    48x64x3  0        1",
        "timestamp               float32  1        0        2.9",
        "frame_index             int64    1        0        29",
        "episode_index           int64    1        0        2",
        "index                   int64    1        0        61",
        "task_index              int64    1        0        1",
    ]


def test_info_as_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(SAMPLE), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["episodes"] == 3
    assert document["episode_length"] == {"min": 12, "median": 20, "max": 30}
    assert document["features"][2] == {
        "name": "next.reward",
        "dtype": "float32",
        "shape": [1],
        "min": 0.0,
        "max": pytest.approx(0.96667, abs=1e-4),
    }


def test_info_of_no_data_set_exits_with_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "info", str(tmp_path / "no")]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/no: no such folder or file; '{tmp_path}' holds nothing\n"
    )


def test_conversion_says_what_it_wrote_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demos.hdf5"
    assert main(["convert", copy_sample(tmp_path), str(out), "--to", "robomimic"]) == 0
    assert capsys.readouterr().out == (
        f"{out}: 3 episodes, 62 frames as robomimic\n"
        "left out, for robomimic has no place for them: task\n"
    )
    assert main(["info", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: robomimic HDF5, 10 frames/s\n3 episodes ")


def test_file_that_would_not_be_known_again_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demos"
    assert cli.main(["data", "convert", str(SAMPLE), str(out), "--to", "robomimic"]) == 2
    assert capsys.readouterr().err == (
        f"error: {out}: robomimic is one file, known by its ending: name it {out}.hdf5\n"
    )
    assert not out.exists()


def test_conversion_says_which_features_come_back_under_other_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample, named, store = tmp_path / "first", tmp_path / "named", tmp_path / "replay.zarr"
    camera = {"dtype": "image", "shape": [6, 8, 3]}
    features = {"observation.image": camera, "action": {"dtype": "float32", "shape": [2]}}
    with LeRobotWriter.create(sample, fps=10, features=features) as writer:
        pixels = np.zeros((3, 6, 8, 3), np.uint8)
        writer.add_episode({"observation.image": pixels, "action": np.zeros((3, 2), "f4")}, "push")
    assert main(["convert", str(sample), str(store), "--to", "zarr"]) == 0
    assert capsys.readouterr().err.endswith(
        "note: zarr keeps short names; read from it, "
        "observation.image is observation.images.image\n"
    )
    command = ["convert", str(sample), str(named), "--to", "aloha", "--json"]
    assert main(command) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["renamed"] == {"observation.image": "observation.images.image"}
    assert (document["episodes"], document["frames"], document["left_out"]) == (1, 3, ["task"])


def test_notes_are_told_apart_from_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "still"
    features = {"action": {"dtype": "float32", "shape": [2]}}
    with LeRobotWriter.create(root, fps=10, features=features) as writer:
        values = np.stack([np.arange(9), np.ones(9)], 1).astype(np.float32)
        writer.add_episode({"action": values}, "wait")
    assert main(["check", str(root)]) == 0
    assert capsys.readouterr().out == (
        f"{root}: note: 'action' never changes in dimension 1, as where a joint is not used; "
        f"normalised it is 0\n{root}: no faults found, 1 note\n"
    )


def test_cameras_become_videos_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample, out = copy_sample(tmp_path), str(tmp_path / "videos")
    assert main(["convert", sample, out, "--to", "lerobot", "--videos"]) == 0
    assert main(["info", out, "--json"]) == 0
    features = json.loads(capsys.readouterr().out.split("\n", 1)[1])["features"]
    assert [each["name"] for each in features if each["dtype"] == "video"] == [
        "observation.images.top"
    ]
    assert (
        cli.main(["data", "convert", sample, str(tmp_path / "x"), "--to", "zarr", "--videos"]) == 2
    )


def test_conversion_onto_something_exits_with_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "convert", str(SAMPLE), str(tmp_path), "--to", "zarr"]) == 2
    assert f"error: {tmp_path}: already exists\n" in capsys.readouterr().err


def test_conversion_needs_the_frame_rate_that_zarr_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "replay.zarr"
    assert main(["convert", copy_sample(tmp_path), str(store), "--to", "zarr"]) == 0
    command = ["data", "convert", str(store), str(tmp_path / "back"), "--to", "lerobot"]
    assert cli.main(command) == 2
    assert capsys.readouterr().err.endswith(
        f"error: {store}: records no frame rate; give it with --fps\n"
    )
    assert cli.main([*command, "--fps", "10"]) == 0


def test_statistics_are_a_table_with_histograms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stats", copy_sample(tmp_path), "--keys", "next.reward"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["feature", "min", "q01", "mean", "q99", "max", "std", "histogram"]
    assert row.split()[:3] == ["next.reward", "0", "0"]
    assert set(row.split("  ")[-1]) <= set(" ▁▂▃▄▅▆▇█")


def test_statistics_are_drawn_and_told_to_machines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample, picture = copy_sample(tmp_path), tmp_path / "plot.png"
    assert main(["stats", sample, "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert main(["stats", sample, "--json", "--keys", "action"]) == 0
    action = json.loads(capsys.readouterr().out)["features"]["action"]
    assert [sum(counts) for counts in action["histogram"]] == [62] * len(action["mean"])


def test_statistics_of_no_feature_exit_with_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "stats", copy_sample(tmp_path), "--keys", "acton"]) == 2
    assert "no numbers under 'acton'; did you mean 'action'?" in capsys.readouterr().err


def test_command_without_work_imports_nothing_heavy() -> None:
    code = (
        "import sys, experiments_il.commands.data\n"
        "heavy = {'torch', 'numpy', 'pyarrow', 'rich', 'metaworld'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_terminal_gets_a_progress_bar() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    with recording_display("reach-v3", 2, console) as update:
        update(RecordingProgress(2, 2, 130, 1))
    assert "recording reach-v3" in screen.getvalue()
    assert "episodes, 130 frames, 1 failed" in screen.getvalue()


def test_pipe_gets_at_most_four_lines() -> None:
    log = io.StringIO()
    with recording_display("reach-v3", 50, Console(file=log, width=40)) as update:
        for done in range(1, 51):
            update(RecordingProgress(done, 50, 60 * done, done // 50))
    assert log.getvalue().splitlines() == [
        "recording reach-v3: 13 of 50 episodes",
        "recording reach-v3: 25 of 50 episodes",
        "recording reach-v3: 38 of 50 episodes",
        "recording reach-v3: 50 of 50 episodes, 1 failed",
    ]


def test_recorded_cameras_have_the_keys_and_the_size_asked_for(tmp_path: Path) -> None:
    cameras = ["--camera", "topview", "--camera", "wrist=gripperPOV", "--image-size", "16x24"]
    command = ["record", "metaworld", "--task", "reach-v3", "--episodes", "1", *cameras]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    description = json.loads((tmp_path / "out/meta/recording.json").read_text())
    expected = {"observation.images.topview": "topview", "wrist": "gripperPOV"}
    assert (description["cameras"], description["image_size"]) == (expected, [16, 24])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["aloha", "--expert", "human"],
            "error: gym-aloha has no expert 'human'; there is scripted\n",
        ),
        (
            ["pusht", "--camera", "side"],
            "error: PushT has no camera 'side' (for observation.images.side); there are top\n",
        ),
        (
            ["aloha", "--task", "insert"],
            "error: gym-aloha has no task 'insert'; did you mean 'insertion'?\n",
        ),
    ],
)
def test_what_a_simulator_lacks_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert cli.main(["data", "record", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == message
    assert list(tmp_path.iterdir()) == []


def test_size_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "record", "pusht", "--image-size", "64", "--out", str(tmp_path / "out")]
    assert cli.main(command) == 2
    assert "expected height and width such as 48x64, got '64'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["score", "run", "--keep", "2"], "--keep must be above 0 and at most 1, got 2"),
        (["score", "run", "--passes", "0"], "--passes must be at least 1, got 0"),
        (["score", "SET"], "SET has no checkpoint; give the folder of a run"),
        (["stats", "SET", "--plot", "no/a.png"], "no: no such folder"),
        (["stats", "SET", "--plot", "a.svg"], "a.svg: expected a name that ends in .png"),
        (["info", "SET", "--plot", "a.gif"], "a.gif: expected a name that ends in .png or .html"),
        (["info", "SET", "--fps", "-3"], "SET: the frame rate must be a number above 0, got -3"),
        (
            ["convert", "SET", "SET/x", "--to", "zarr"],
            "SET/x: lies inside the data set that is converted",
        ),
    ],
)
def test_options_that_cannot_be_meant_exit_with_two(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "SET").symlink_to(copy_sample(tmp_path))
    assert cli.main(["data", *command]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_conversion_to_where_nothing_can_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = "/proc/nowhere/demos"
    assert cli.main(["data", "convert", copy_sample(tmp_path), target, "--to", "aloha"]) == 1
    assert f"error: {target}: cannot be written: " in capsys.readouterr().err
