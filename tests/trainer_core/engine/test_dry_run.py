"""What a run would be like, told before it starts."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from trainer_core.cli import main
from trainer_core.engine.build import build_experiment
from trainer_core.engine.dry_run import describe_dry_run, dry_run
from trainer_core.engine.summary import count_parameters, introduce, parameter_table, short
from trainer_core.engine.throughput import count_flops, peak_flops
from trainer_core.experiment.loading import load_experiment
from trainer_core.loggers.jsonl import read_metrics
from trainer_core.ranks import LocalRanks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer_core.engine.built import Experiment

    Train = Callable[..., Any]


@pytest.fixture
def experiment(tiny: dict[str, Any], tmp_path: Path) -> Experiment:
    tiny["run"]["out_dir"] = str(tmp_path / "run")
    return build_experiment(load_experiment(tiny), LocalRanks())


def test_dry_run_tells_size_length_and_loss(experiment: Experiment, tmp_path: Path) -> None:
    before = {name: t.clone() for name, t in experiment.models.state_dict().items()}
    report = dry_run(experiment)
    row = report["components"][0]
    assert (row["trained"], row["frozen"], row["dtype"]) == (3 * 8 + 8 + 8 * 2 + 2, 0, "float32")
    assert report["batch"][0] == {"key": "x", "dtype": "float32", "shape": [4, 3]}
    assert (report["total_steps"], report["samples"]) == (13, 52)
    assert report["steps_per_epoch"] == 22 / 4
    assert report["metrics"]["loss"] > 0
    assert report["memory"]["mb"] > 0
    after = experiment.models.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert not (tmp_path / "run").exists()


def test_description_fits_a_terminal(experiment: Experiment) -> None:
    text = describe_dry_run(dry_run(experiment))
    assert "nothing was trained or written" in text
    assert "  x      float32 [4, 3]" in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_the_data_set_wrote_is_told_last(experiment: Experiment) -> None:
    where = "demonstrations in data/" + "deep/" * 20
    experiment.dataset.written = [where]
    report = dry_run(experiment)
    assert report["written"] == [where]
    assert describe_dry_run(report).splitlines()[-2:] == [
        "nothing was trained; the data set wrote",
        f"  {where}",
    ]


def test_dry_run_of_a_trainer_that_owns_its_step(
    tiny: dict[str, Any], acme: None, tmp_path: Path
) -> None:
    tiny["trainer"] = {"_type_": "plain", "max_steps": 3}
    built = build_experiment(load_experiment(tiny), LocalRanks())
    text = describe_dry_run(dry_run(built))
    assert "time       not known: the trainer owns its whole step" in text


def test_command_prints_json(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny["run"]["out_dir"] = str(tmp_path / "run")
    file = tmp_path / "exp.yaml"
    file.write_text(json.dumps(tiny))
    assert main(["run", str(file), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total_steps"] == 13
    assert main(["run", str(file), "--json"]) == 2


def test_operations_are_those_of_the_matrices(experiment: Experiment) -> None:
    forward = 2 * 4 * (3 * 8 + 8 * 2)
    # Backward: the weights' gradients, and those of the inputs but of the first layer.
    assert count_flops(experiment) == forward + forward + 2 * 4 * 8 * 2


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989e12),
        ("NVIDIA A100-SXM4", "fp32", 19.5e12),
        ("X", "bf16", None),
    ],
)
def test_peaks_of_some_devices_are_known(
    monkeypatch: pytest.MonkeyPatch, name: str, precision: str, peak: float | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert peak_flops(torch.device("cuda"), precision) == peak
    assert peak_flops(torch.device("cpu"), precision) is None
    assert peak_flops(torch.device("cpu"), precision, 2.0) == 2e12


def test_use_of_the_device_is_logged_on_request(train: Train, tmp_path: Path) -> None:
    train("run.peak_tflops=0.001")
    train(out="plain")
    record = read_metrics(tmp_path / "run/metrics.jsonl")[0]
    assert record["mfu"] == pytest.approx(768 / 1e9 / record["step_s"])
    assert 0 < record["data_share"] < 1
    plain = read_metrics(tmp_path / "plain/metrics.jsonl")
    assert "mfu" not in plain[0]
    assert plain[-1]["loss"] == read_metrics(tmp_path / "run/metrics.jsonl")[-1]["loss"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(Terminal):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_run_is_introduced_on_a_terminal(experiment: Experiment) -> None:
    quiet, terminal = io.StringIO(), Terminal()
    introduce(experiment, quiet)
    introduce(experiment, terminal)
    introduce(experiment, Gone())
    assert not quiet.getvalue()
    assert [line.split()[:4] for line in terminal.getvalue().splitlines()] == [
        ["component", "trained", "frozen", "total"],
        ["model", "50", "0", "50"],
    ]


def test_table_has_a_sum_and_short_names() -> None:
    models = nn.ModuleDict(
        {"a" * 40: nn.Linear(1000, 2), "b": nn.Linear(2, 1).requires_grad_(False)}
    )
    lines = parameter_table(count_parameters(models))
    assert lines[1].startswith("a" * 25 + "...")
    assert lines[-1].split() == ["all", "2,002", "3", "2,005", "0.01"]
    assert [short(n) for n in (12, 1234, 1.5e6, 2e9)] == ["12", "1.23k", "1.5M", "2G"]
