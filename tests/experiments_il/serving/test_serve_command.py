"""`trainer serve` as a process: what it prints, how it ends, and what it refuses to begin with."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from experiments_il.serving.client import PolicyClient
from experiments_il.serving.onnx_policy import OnnxPolicy
from trainer_core.cli import main
from trainer_core.engine.build import build_experiment
from trainer_core.engine.loop import fit
from trainer_core.experiment.loading import load_experiment
from trainer_core.ranks import LocalRanks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = ["params.demonstrations=2", "trainer.max_steps=2", "data.batch_size=8", "evaluation=null"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("served")
    places = ["callbacks=[]", f"run.out_dir={folder}/run", f"data.root={folder}/data"]
    experiment = build_experiment(load_experiment("il/reach", [*SMALL, *places]), LocalRanks())
    fit(experiment, folder / "run")
    return folder / "run"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder as `trainer ckpt export --format onnx` writes it: actions are the noise and 1."""
    folder = tmp_path / "program"
    folder.mkdir()
    sizes: dict[str, list[Any]] = {"state": ["b", 1, 3], "noise": ["b", 4, 2]}
    inputs = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in sizes.items()]
    output = helper.make_tensor_value_info("actions", TensorProto.FLOAT, sizes["noise"])
    one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    node = helper.make_node("Add", ["noise", "one"], ["actions"])
    graph = helper.make_graph([node], "policy", inputs, [output], [one])
    opset = helper.make_opsetid("", 18)
    onnx.save(
        helper.make_model(graph, opset_imports=[opset], ir_version=10), folder / "policy.onnx"
    )
    digest = hashlib.sha256((folder / "policy.onnx").read_bytes()).hexdigest()
    about = {
        "format_version": 1,
        "format": "onnx",
        "file": "policy.onnx",
        "name": "by hand",
        "trainer": "t",
        "step": 3,
        "weights": "ema",
        "checkpoint": "0" * 64,
        "fps": 10.0,
        "inputs": [
            {"name": name, "shape": [None, *size[1:]], "dtype": "float32"}
            for name, size in sizes.items()
        ],
        "about": {
            "kind": "action_chunk",
            "observation_keys": ["state"],
            "n_obs_steps": 1,
            "n_action_steps": 2,
            "action_offset": -1,
            "horizon": 4,
            "action_dim": 2,
            "noise_shape": [4, 2],
        },
        "files": {"policy.onnx": {"bytes": 1, "sha256": digest}},
    }
    (folder / "program.json").write_text(json.dumps(about))
    return folder


class Served:
    """A process that serves, and the lines it printed until it did."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "trainer_core", "serve", *arguments, "--port", "0"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.lines: list[str] = []
        while not self.lines or not self.lines[-1].startswith("serving ws://"):
            line = self.process.stdout.readline()
            assert line, self.process.communicate(timeout=30)
            self.lines.append(line.rstrip("\n"))
        self.port = int(self.lines[-1].rpartition(":")[2])

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        """Send a signal; return the exit code and what was printed since."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture
def served(run: Path) -> Iterator[Served]:
    """A served run."""
    found = Served(str(run))
    yield found
    found.process.kill()
    found.process.communicate(timeout=30)


def test_run_is_served_until_a_signal(served: Served) -> None:
    assert served.lines[:-1] == [
        "naive_flow_matching_policy_trainer, step 2, trained weights",
        "  reads observation.state: float32 39",
        "  answers 8 actions of 4 numbers",
    ]
    with PolicyClient(port=served.port) as policy:
        assert policy.metadata["fps"] == 20.0
        assert len(policy.metadata["digest"]) == 64
        assert policy.metadata["observation"]["observation.state"]["shape"] == [39]
        assert policy.act({"observation.state": np.zeros(39)}).shape == (4,)
        code, out, err = served.end(signal.SIGTERM)
    assert (code, err) == (0, "")
    assert out.startswith("1 chunks in 1 batches; messages: 0 refused, 0 overloaded, 0 failed\n")
    assert "total p50 " in out


def test_program_of_onnx_is_served_without_torch(program: Path) -> None:
    found = Served(str(program), "--host", "0.0.0.0")
    with PolicyClient(port=found.port) as policy:
        answer = policy.infer({"state": np.zeros(3)})["actions"]
    assert found.end(signal.SIGINT)[2] == (
        f"warning: whoever reaches 0.0.0.0:{found.port} can use this server: it has no "
        "authentication and no encryption\n"
    )
    noise = np.random.default_rng([0, 0, 0]).standard_normal((4, 2), dtype=np.float32)
    np.testing.assert_allclose(answer, (noise + 1)[1:], rtol=1e-6)


def test_onnx_policy_acts_alone(program: Path) -> None:
    policy = OnnxPolicy(program)
    observation = {"state": np.zeros((3, 1, 3), np.float32)}
    assert policy.act(observation).shape == (3, 4, 2)
    assert policy.act(observation, np.zeros((3, 4, 2))).tolist() == np.ones((3, 4, 2)).tolist()


def test_changed_program_is_refused(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (program / "policy.onnx").open("ab") as file:
        file.write(b"x")
    assert main(["serve", str(program)]) == 2
    assert capsys.readouterr().err == (
        f"error: {program}/policy.onnx is not as it was exported: its sha256 differs\n"
    )


def test_program_of_another_format_is_refused(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about = json.loads((program / "program.json").read_text()) | {"format": "pt2"}
    (program / "program.json").write_text(json.dumps(about))
    assert main(["serve", str(program)]) == 2
    assert capsys.readouterr().err == (
        f"error: {program} is a program of format 'pt2', not a policy in ONNX\n"
    )


def test_port_in_use_is_said(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", str(program), "--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use; choose another "
        "--host or --port (0: any port that is free)\n"
    )


@pytest.mark.parametrize(
    ("module", "extra"), [("websockets", "serve"), ("msgpack", "serve"), ("onnxruntime", "onnx")]
)
def test_missing_package_is_said(
    program: Path,
    module: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["serve", str(program)]) == 2
    assert capsys.readouterr().err.endswith(
        f"needs a package that is not installed: pip install 'experiments-il[{extra}]'\n"
    )


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (["--port", "99999"], "--port must be 0 to 65535, got 99999"),
        (["--max-batch", "0"], "--max-batch must be above 0, got 0"),
        (["--max-message-mb", "0"], "--max-message-mb must be above 0, got 0"),
    ],
)
def test_value_out_of_range_is_said(
    program: Path, option: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(program), *option]) == 2
    assert capsys.readouterr().err == f"error: {text}\n"


def test_folder_that_is_no_policy_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(tmp_path)]) == 2
    assert "is neither a run with checkpoints" in capsys.readouterr().err
