"""`trainer run --sweep` around a runner that trains nothing: its processes load no torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.cli import main
from trainer_core.cli.sweep_table import to_table

if TYPE_CHECKING:
    from collections.abc import Callable

Capture = pytest.CaptureFixture[str]


def statuses() -> list[str]:
    document = json.loads(Path("out/sweep/sweep.json").read_text())
    return [trial["status"] for trial in document["trials"]]


def starts() -> list[int]:
    files = (Path(f"out/sweep/{seed}-seed={seed}/started") for seed in range(2))
    return [len(file.read_text()) if file.exists() else 0 for file in files]


def test_every_trial_runs_and_is_in_the_table(
    sweep: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert sweep() == 0
    table = capfd.readouterr().out.splitlines()[-4:]
    assert table == [
        "trial  status     seed  steps  success_rate  loss  step_s  s",
        "0      completed  0     7      0.5           1     0.5     2",
        "1      completed  1     7      0.5           0.5   0.5     2",
        "see out/sweep/sweep.json",
    ]


def test_finished_trials_are_not_run_again(sweep: Callable[..., int]) -> None:
    assert sweep(grid="seed=0") == 0
    assert sweep() == 0
    assert starts() == [1, 1]
    assert sweep("--resume", "none", grid="seed=0") == 0
    assert starts() == [2, 1]


def test_failed_trial_does_not_stop_the_others(sweep: Callable[..., int]) -> None:
    assert sweep("runner.fails_at=0") == 1
    assert statuses() == ["failed", "completed"]


def test_interrupted_trial_ends_the_sweep(
    sweep: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert sweep("runner.stops_at=0") == 75
    assert capfd.readouterr().out.endswith("the state is saved; the same command goes on\n")
    assert statuses() == ["interrupted", "pending"]
    assert starts() == [1, 0]


def test_finished_trial_of_another_configuration_is_refused(
    sweep: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert sweep(grid="seed=0") == 0
    assert sweep("params.width=32") == 2
    assert capfd.readouterr().err == (
        "error: out/sweep/0-seed=0 holds a finished trial of another configuration; "
        "set another run.out_dir, remove the folder, or give --resume none\n"
    )
    assert starts() == [1, 0]


def test_finished_trial_of_another_model_file_is_refused(sweep: Callable[..., int]) -> None:
    file = Path("head.yaml")
    named = "models={_merge_: replace, model: {config: head.yaml}}"
    file.write_text("model: {_type_: mlp, dims: [3, 8, 1]}\n")
    assert sweep(named, "~model", grid="seed=0") == 0
    file.write_text("model: {_type_: mlp, dims: [3, 9, 1]}\n")
    assert sweep(named, "~model", grid="seed=0") == 2


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("seed=1,-1", "<cli>:3:10: error: run.seed: expected at least 0, found -1"),
        ("seed=1,,2", "<sweep>:1:7: error: a value is missing between two commas"),
    ],
)
def test_nothing_starts_when_one_trial_is_wrong(
    grid: str, message: str, sweep: Callable[..., int], capsys: Capture
) -> None:
    assert sweep(grid=grid) == 2
    assert capsys.readouterr().err.startswith(message)
    assert not Path("out").exists()


def test_dry_run_lists_the_trials_and_starts_none(
    sweep: Callable[..., int], capsys: Capture
) -> None:
    assert sweep("--dry-run", grid="seed=5,6") == 0
    assert capsys.readouterr().out == (
        "2 trials are checked; nothing was started\n0-seed=5\n1-seed=6\n"
    )
    assert not Path("out").exists()


def test_json_is_one_document_on_stdout(
    sweep: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert sweep("--json") == 0
    document = json.loads(capfd.readouterr().out)
    assert document == json.loads(Path("out/sweep/sweep.json").read_text())
    assert document["trials"][1]["values"] == {"run.seed": "1"}
    assert document["trials"][1]["metrics"]["loss"] == 0.5


def test_runner_that_can_sweep_is_handed_the_grid(
    sweep: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)  # no process is started
    assert sweep(kind="grid") == 0
    assert (statuses(), starts()) == (["completed"] * 2, [1, 1])


def test_finished_trials_are_not_handed_over_again(sweep: Callable[..., int]) -> None:
    for grid in ("seed=0", "seed=range(2)", "seed=range(2)"):
        assert sweep(kind="telling", grid=grid) == 0
    assert starts() == [1, 1]


def test_what_a_runner_tells_of_its_trials_is_written_in_lines(
    sweep: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert sweep("--json", "runner.fails_at=1", kind="telling") == 1
    out, err = capfd.readouterr()
    first, last = (trial for trial in json.loads(out)["trials"])
    assert "error" not in first
    assert (last["status"], last["step"], last["error"]) == ("failed", 3, "the disk is full")
    assert err.splitlines()[:5] == [
        "0-seed=0: begun",
        "0-seed=0: step 3/7  loss 0.5",
        "0-seed=0: hello",
        "0-seed=0: warning: hot",
        "0-seed=0: completed after 7 steps",
    ]
    assert err.splitlines()[-1] == "1-seed=1: failed: the disk is full"


def test_the_record_is_up_to_date_after_each_trial_that_ends(
    sweep: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert sweep("runner.peeks=true", kind="telling") == 0
    assert capfd.readouterr().out.splitlines()[:2] == [
        "after 0: ['completed', 'pending']",
        "after 1: ['completed', 'completed']",
    ]


def test_trials_that_were_kept_from_starting_are_pending(sweep: Callable[..., int]) -> None:
    assert sweep("runner.stops_at=0", kind="telling") == 75
    assert statuses() == ["interrupted", "pending"]


def test_a_signal_that_the_runner_does_not_hear_interrupts_the_sweep(
    sweep: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert sweep(kind="leaving") == 75
    assert statuses() == ["completed", "pending"]
    assert "interrupted by SIGINT before the first step" in capfd.readouterr().out


def test_trials_side_by_side_start_anew_where_that_is_asked_for(
    sweep: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert sweep("--resume", "none", kind="grid") == 0
    assert sweep("--resume", "none", kind="grid") == 0
    assert starts() == [2, 2]
    assert [Path(f"out/sweep/{n}-seed={n}/resume").read_text() for n in range(2)] == ["none"] * 2


def test_trials_with_other_runners_each_have_their_own(
    sweep: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert sweep(kind="grid", grid="runner.fails_at=-1,7") == 0
    first = capfd.readouterr().out.splitlines()[0]
    assert first == "the trials differ in keys of runner: they run one after the other"
    trials = json.loads(Path("out/sweep/sweep.json").read_text())["trials"]
    assert [trial["exit_code"] for trial in trials] == [0, 0]  # of a process for each


def test_signal_stops_the_trial_and_the_sweep(sweep: Callable[..., int]) -> None:
    assert sweep("--dry-run") == 0  # the fixture's wheel and file are in place
    words = ["runner={_type_: fake, waits_s: 60}", "run.out_dir=out", "--sweep", "seed=range(2)"]
    command = [sys.executable, "-m", "trainer_core.cli", "run", "exp.yaml", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while starts() == [0, 0] and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(30) == 75
    assert statuses() == ["interrupted", "pending"]


def test_config_may_stand_behind_the_sweep(sweep: Callable[..., int], capsys: Capture) -> None:
    assert sweep("--dry-run") == 0
    assert main(["run", "--dry-run", "--sweep", "seed=1,2", "exp.yaml"]) == 0
    assert capsys.readouterr().out.endswith("0-seed=1\n1-seed=2\n")


def test_json_without_a_sweep_is_refused(experiment_file: Path, capsys: Capture) -> None:
    assert main(["run", str(experiment_file), "--json"]) == 2
    assert "--json goes with --sweep" in capsys.readouterr().err


def record(**fields: Any) -> dict[str, Any]:
    base = {"number": 0, "status": "completed", "step": 3, "wall_s": 61.2, "values": {"a.lr": "1"}}
    return base | {"metrics": {"loss": 0.25}, "evaluation": {}} | fields


def test_table_leaves_out_what_does_not_fit() -> None:
    assert to_table([record()], width=30) == (
        "trial  status     lr  steps\n0      completed  1   3\nand 2 more columns in sweep.json"
    )


def test_table_has_a_gap_where_a_trial_has_no_result() -> None:
    failed = record(status="failed", metrics={}, values={"a.lr": "2"})
    lines = to_table([record(), failed], width=100).splitlines()
    assert lines[2] == "0      failed     2   3            61"


def test_keys_that_end_alike_keep_their_whole_names() -> None:
    heading = to_table([record(values={"a.lr": "1", "b.lr": "2"})], width=100).splitlines()[0]
    assert heading == "trial  status     a.lr  b.lr  steps  loss  s"
