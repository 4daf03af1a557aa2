"""What a user sees when something is wrong: the place, the reason, the exit code, no debris."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from trainer_core.cli import main

if TYPE_CHECKING:
    from pathlib import Path

BASE = """\
schema_version: 1
params: {width: 16}
run: {name: bad, out_dir: runs/bad, device: cpu}
model:
  sequential:
    layers:
      - {_type_: mlp, dims: [8, "${params.width}", 4]}
data: {_type_: random_regression, x_shape: [8], y_shape: [4], batch_size: 16}
io: {_type_: mapping, model_kwargs: {x: [x]}, targets: {y: [y]}}
loss: {_type_: torch, fn: {_type_: nn.MSELoss}}
optimizer: {_type_: torch, type: optim_cls.AdamW, kwargs: {lr: 1e-3}}
trainer: {_type_: default, max_steps: 5}
loggers: []
"""

# what is wrong: (text replaced, its replacement, line:column, what the message must say)
MISTAKES = {
    "yaml syntax": ("loggers: []", "loggers: [", "14:1", "expected"),
    "wrong type": ("max_steps: 5", "max_steps: five", "12:39", "expected an integer, found 'five'"),
    "misspelt engine key": ("max_steps: 5", "max_step: 5", "12:28", "did you mean 'max_steps'"),
    "misspelt section": ("optimizer:", "optimiser:", "11:1", "did you mean 'optimizer'"),
    "misspelt component": (
        "_type_: random_regression",
        "_type_: random_regresion",
        "8:16",
        "did you mean 'random_regression'",
    ),
    "wrong kind": ("{_type_: torch, fn", "{_type_: jsonl, fn", "10:16", "not a loss"),
    "misspelt block": ("_type_: mlp", "_type_: mpl", "7:18", "did you mean 'mlp'"),
    "misspelt parameter": ("dims: [8", "dimms: [8", "7:23", "did you mean 'dims'"),
    "missing reference": (
        "${params.width}",
        "${params.widht}",
        "7:34",
        "did you mean 'params.width'",
    ),
    "cycle": ("{width: 16}", '{width: "${params.width}"}', "2:18", "cycle"),
    "missing variable": (
        '"${params.width}"',
        '"${env:int:SURELY_NOT_SET}"',
        "7:34",
        "SURELY_NOT_SET",
    ),
    "module list": ("loggers: []", "imports: [my.module]", "13:1", "entry points"),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_located_and_nothing_is_written(
    here: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    old, new, place, text = MISTAKES[name]
    assert old in BASE
    (here / "cfg.yaml").write_text(BASE.replace(old, new, 1))
    assert main(["run", "cfg.yaml"]) == 2
    error = capsys.readouterr().err
    assert f"cfg.yaml:{place}: error" in error
    assert text in error
    assert "Traceback" not in error
    assert [p.name for p in here.iterdir()] == ["cfg.yaml"]


def test_missing_file_names_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nowhere.yaml"]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err


def test_unknown_op_names_the_nearest(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = {
        "inputs": ["x"],
        "modules": {"a": {"_type_": "nn.Linear", "in_features": 8, "out_features": 4}},
        "nodes": [
            {"name": "h", "call": "module:a", "args": ["$x"]},
            {"name": "y", "call": "op:ad", "args": ["$h", "$h"]},
        ],
        "outputs": ["$y"],
    }
    write(here, model={"graph": graph})
    assert main(["run", "cfg.yaml"]) == 2
    assert "did you mean 'add'" in capsys.readouterr().err


def test_data_that_does_not_fit_the_model_is_explained(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here, data={"_type_": "random_regression", "x_shape": [9], "y_shape": [4]} | BATCH)
    assert main(["run", "cfg.yaml"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "9" in error
    assert "x" in error
    assert not (here / "runs").exists()


def test_checkpoint_of_another_model_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here)
    assert main(["run", "cfg.yaml"]) == 0
    before = tree(here / "runs")
    assert main(["run", "cfg.yaml", "params.width=32", "trainer.max_steps=9"]) == 2
    error = capsys.readouterr().err
    assert "checkpoint" in error
    assert "[16" in error
    assert "[32" in error
    assert tree(here / "runs") == before


def test_unreadable_dataset_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "data").mkdir()
    write(here, data={"_type_": "lerobot", "root": "data"} | BATCH)
    assert main(["run", "cfg.yaml"]) == 2
    error = capsys.readouterr().err
    assert "info.json" in error
    assert "Traceback" not in error


def test_missing_simulator_names_the_extra(here: Path) -> None:
    code = (
        "import sys; sys.modules['metaworld'] = None\n"
        "from trainer_core.cli import main\n"
        "sys.exit(main(['data', 'record', 'metaworld', '--task', 'reach-v3',"
        " '--episodes', '1', '--out', 'demos']))"
    )
    done = python(code, here)
    assert done.returncode == 2
    assert "pip install 'experiments-il[metaworld]'" in done.stderr
    assert not (here / "demos").exists()


def test_full_disk_keeps_older_checkpoints(here: Path) -> None:
    write(here, trainer={"_type_": "default", "max_steps": 5})
    assert main(["run", "cfg.yaml"]) == 0
    before = tree(here / "runs" / "bad" / "checkpoints")
    environment = here / "runs" / "bad" / "environment.json"
    limit = environment.stat().st_size + 512  # bytes: no file may grow past this
    code = (
        "import resource, sys\nfrom trainer_core.cli import main\nimport torch\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {resource.RLIM_INFINITY}))\n"
        "sys.exit(main(['run', 'cfg.yaml', 'trainer.max_steps=9']))"
    )
    done = python(code, here)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "checkpoints" in done.stderr
    assert before == tree(here / "runs" / "bad" / "checkpoints")


def test_unwritable_run_folder_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here)
    assert main(["run", "cfg.yaml", "run.out_dir=/proc/no/such/place"]) in {1, 2}
    error = capsys.readouterr().err
    assert "/proc/no/such/place" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_the_next_run_goes_on(here: Path, number: signal.Signals) -> None:
    endless = {"_type_": "default", "max_steps": 10_000_000, "log_every_n_steps": 10}
    write(here, trainer=endless, loggers=[{"_type_": "jsonl"}])
    program = "import sys; from trainer_core.cli import main; sys.exit(main(['run', 'cfg.yaml']))"
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=here, stderr=subprocess.PIPE, text=True
    )
    log = here / "runs" / "bad" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 75, error
    summary = json.loads((here / "runs" / "bad" / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    saved = summary["step"]
    assert main(["run", "cfg.yaml", f"trainer.max_steps={saved + 3}"]) == 0
    summary = json.loads((here / "runs" / "bad" / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("completed", saved + 3)


BATCH = {"batch_size": 16}


def write(folder: Path, **sections: Any) -> None:
    (folder / "cfg.yaml").write_text(yaml.safe_dump(yaml.safe_load(BASE) | sections))


def tree(folder: Path) -> dict[str, bytes]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
