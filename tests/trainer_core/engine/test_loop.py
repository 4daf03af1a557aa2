from __future__ import annotations

import json
import logging
import os
import shutil
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from trainer_core.checkpoint.layout import step_name
from trainer_core.hookspecs import hookimpl
from trainer_core.loggers.jsonl import read_metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer_core.results import RunResult

    Train = Callable[..., RunResult]

PHASES = {"data_s", "forward_s", "backward_s", "optimizer_s"}
TIMES = {*PHASES, "step_s", "data_share", "samples_per_s"}


class StopAt:
    """Ends a run as a signal would, after a step."""

    def __init__(self, step: int, number: int = signal.SIGTERM) -> None:
        self.step = step
        self.number = number

    @hookimpl
    def trainer_step_end(self, state: Any) -> None:
        if state.step == self.step:
            os.kill(os.getpid(), self.number)


class Recorder:
    """Keeps the samples of each step and the names of the hooks that were called."""

    def __init__(self) -> None:
        self.indices: list[list[int]] = []
        self.calls: list[str] = []

    def spy(self, experiment: Any) -> None:
        read = experiment.dataset.__getitems__

        def remember(indices: Any) -> Any:
            self.indices.append(indices.tolist())
            return read(indices)

        experiment.dataset = SizedReader(len(experiment.dataset), remember)


class SizedReader:
    def __init__(self, size: int, read: Callable[[Any], Any]) -> None:
        self.size = size
        self.read = read

    def __len__(self) -> int:
        return self.size

    def __getitems__(self, indices: Any) -> Any:
        return self.read(indices)


def interrupt(step: int) -> Callable[[Any], None]:
    def spy(experiment: Any) -> None:
        listeners = experiment.hooks._find("trainer_step_end")
        stop = StopAt(step)
        listeners.append(
            SimpleNamespace(
                owner="test",
                arguments=("state", "logs"),
                function=lambda s, _: stop.trainer_step_end(s),
            )
        )

    return spy


def final_state(out: Path, step: int = 13) -> dict[str, Any]:
    folder = out / "checkpoints" / step_name(step)
    tensors = {
        f"{file.name}/{name}": tensor
        for file in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }
    document = json.loads((folder / "state.json").read_text())
    document["loop"].pop("wall_s")
    for name in TIMES:
        document["metrics"].pop(name, None)
    records = [
        {key: value for key, value in record.items() if key not in TIMES}
        for record in read_metrics(out / "metrics.jsonl")
    ]
    return {"tensors": tensors, "state": document, "records": records}


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first["records"] == second["records"]
    assert first["tensors"].keys() == second["tensors"].keys()
    assert all(torch.equal(t, second["tensors"][name]) for name, t in first["tensors"].items())


@settings(
    max_examples=14,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cuts=st.sets(st.integers(1, 13), min_size=1, max_size=2))
def test_resumed_run_equals_the_uninterrupted_one(
    train: Train, tmp_path: Path, cuts: set[int]
) -> None:
    if not (tmp_path / "whole").exists():
        train(out="whole", callbacks=[{"_type_": "ema"}])
    out = "cut-" + "-".join(map(str, sorted(cuts)))
    shutil.rmtree(tmp_path / out, ignore_errors=True)  # an example may be tried twice
    for cut in sorted(cuts):
        result = train(out=out, spy=interrupt(cut), callbacks=[{"_type_": "ema"}])
        assert (result.status, result.step) == ("interrupted", cut)
    result = train(out=out, callbacks=[{"_type_": "ema"}])
    assert result.status == "completed"
    resumed, whole = final_state(tmp_path / out), final_state(tmp_path / "whole")
    assert_same(resumed, whole)
    # Interrupted after its last step, a run is saved before its last log line is written.
    assert resumed["state"] == whole["state"] or 13 in cuts


def test_samples_of_a_resumed_run_continue_the_order(train: Train) -> None:
    whole, first, second = Recorder(), Recorder(), Recorder()
    train(out="whole", spy=whole.spy)
    train("trainer.max_steps=7", out="cut", spy=first.spy)
    train(out="cut", spy=second.spy)
    assert first.indices + second.indices == whole.indices


def test_workers_bring_the_same_batches(train: Train, tmp_path: Path) -> None:
    train(out="here")
    train("data.num_workers=2", out="workers")
    assert_same(final_state(tmp_path / "here"), final_state(tmp_path / "workers"))


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulation_equals_the_whole_batch(train: Train, tmp_path: Path, parts: int) -> None:
    model = {"sequential": {"layers": [{"_type_": "mlp", "dims": [3, 8, 2]}]}}
    train(out="whole", model=model)
    train(f"trainer.grad_accum_steps={parts}", out="parts", model=model)
    whole = final_state(tmp_path / "whole")["tensors"]
    cut = final_state(tmp_path / "parts")["tensors"]
    assert all(torch.allclose(t, cut[name], atol=1e-5) for name, t in whole.items())


def test_each_logged_step_has_its_record(train: Train, tmp_path: Path) -> None:
    train()
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [record["step"] for record in records] == [3, 6, 9, 12, 13]
    assert set(records[0]) == {"step", "epoch", "samples", "loss", "grad_norm", "lr", *TIMES}
    assert (records[0]["samples"], records[0]["epoch"]) == (12, 12 / 22)


def test_logged_rate_is_the_one_the_step_used(train: Train, tmp_path: Path) -> None:
    train(scheduler={"_type_": "sched_cls.StepLR", "step_size": 1, "gamma": 0.5})
    rates = [record["lr"] for record in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert rates == pytest.approx([0.01 * 0.5**step for step in (2, 5, 8, 11, 12)])


def test_run_folder_holds_what_was_promised(train: Train, tmp_path: Path) -> None:
    result = train()
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "checkpoints",
        "config.resolved.yaml",
        "environment.json",
        "loss_curve.png",
        "metrics.jsonl",
        "plugins.json",
        "report.html",
        "summary.json",
    }
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("completed", 13)
    assert summary["metrics"]["loss"] == result.metrics["loss"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signal_saves_and_reports_an_interruption(
    train: Train, tmp_path: Path, number: int
) -> None:
    before = signal.getsignal(number)

    def spy(experiment: Any) -> None:
        interrupt(5)(experiment)
        experiment.hooks._find("trainer_step_end")[-1].function = lambda state, _: (
            os.kill(os.getpid(), number) if state.step == 5 else None
        )

    result = train(spy=spy)
    assert (result.status, result.step) == ("interrupted", 5)
    assert (tmp_path / "run" / "checkpoints" / step_name(5) / "MANIFEST.json").is_file()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"
    assert signal.getsignal(number) == before


def test_completed_run_is_not_trained_again(train: Train, tmp_path: Path) -> None:
    train()
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert train().step == 13
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_longer_run_goes_on_from_the_end(train: Train, tmp_path: Path) -> None:
    train()
    assert train("trainer.max_steps=16").step == 16
    steps = [record["step"] for record in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert steps == [3, 6, 9, 12, 13, 15, 16]


def test_changed_batch_size_is_allowed_and_said(
    train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    train("trainer.max_steps=3")
    with caplog.at_level(logging.WARNING):
        train("data.batch_size=2", "trainer.max_steps=5", "run.allow=[batch_size]")
    said = "\n  data.batch_size was 4 and is 2 (<cli>:1:17)"
    assert caplog.messages == [f"step-000000003 goes on with other settings:{said}"]


def test_starting_over_keeps_the_former_run_aside(train: Train, tmp_path: Path) -> None:
    train()
    train("trainer.max_steps=2", resume="none")
    previous = tmp_path / "run" / "previous" / "001"
    assert (previous / "checkpoints" / step_name(13)).is_dir()
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 1


def test_time_limit_ends_the_run_as_complete(train: Train, tmp_path: Path) -> None:
    result = train("trainer.max_steps=10000000", "trainer.max_time_s=0.3")
    assert result.status == "completed"
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["stop_reason"] == "max_time_s"


def test_time_limit_holds_for_the_next_process_too(train: Train) -> None:
    first = train("trainer.max_steps=10000000", "trainer.max_time_s=0.2")
    assert train("trainer.max_steps=10000000", "trainer.max_time_s=0.2").step == first.step


def test_earlier_step_sets_the_later_ones_aside(train: Train, tmp_path: Path) -> None:
    save_often = [{"_type_": "model_checkpoint", "every_n_steps": 3, "keep_last": 9}]
    train(callbacks=save_often)
    train("loss.fn._type_=nn.L1Loss", resume=6, callbacks=save_often)
    checkpoints = tmp_path / "run" / "checkpoints"
    assert json.loads((checkpoints / step_name(9) / "MANIFEST.json").read_text())["parent"]
    aside = tmp_path / "run" / "previous" / "001" / "checkpoints"
    assert sorted(path.name for path in aside.iterdir()) == [step_name(n) for n in (9, 12, 13)]
    assert (aside / step_name(9) / "model.model.safetensors").read_bytes() != (
        checkpoints / step_name(9) / "model.model.safetensors"
    ).read_bytes()


def test_checkpoint_of_another_run_begins_a_new_one(train: Train, tmp_path: Path) -> None:
    train("trainer.max_steps=5", out="first")
    train("trainer.max_steps=13")
    train(resume=str(tmp_path / "first"))
    assert (tmp_path / "run" / "previous" / "001" / "checkpoints" / step_name(13)).is_dir()
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [record["step"] for record in records] == [6, 9, 12, 13]


def test_epochs_give_the_number_of_steps(train: Train, tiny: dict[str, Any]) -> None:
    trainer = {"_type_": "default", "max_epochs": 1.5}
    assert train(trainer=trainer).step == 9


def test_hooks_are_called_in_their_order(train: Train) -> None:
    calls: list[str] = []

    class Callback:
        @hookimpl
        def trainer_fit_start(self, state: Any) -> None:
            calls.append(f"fit_start {state.step}")

        @hookimpl
        def trainer_epoch_start(self, state: Any) -> None:
            calls.append(f"epoch_start {state.step}")

        @hookimpl
        def trainer_epoch_end(self, state: Any) -> None:
            calls.append(f"epoch_end {state.step}")

        @hookimpl
        def trainer_checkpoint_save(self, state: Any, path: Path) -> None:
            calls.append(f"save {state.step}")
            (path / "extra.txt").write_text("kept")

        @hookimpl
        def trainer_fit_end(self, status: str) -> None:
            calls.append(status)

    def spy(experiment: Any) -> None:
        experiment.hooks._manager.register(Callback())

    train(spy=spy)
    assert calls == [
        "fit_start 0",
        "epoch_start 0",
        "epoch_end 6",
        "epoch_start 6",
        "epoch_end 11",
        "epoch_start 11",
        "save 13",
        "completed",
    ]


def test_log_lines_tell_where_the_time_of_a_step_goes(train: Train, tmp_path: Path) -> None:
    train("trainer.grad_accum_steps=2")
    for record in read_metrics(tmp_path / "run/metrics.jsonl"):
        assert all(record[name] > 0 for name in PHASES)
        assert sum(record[name] for name in PHASES) < record["step_s"]
