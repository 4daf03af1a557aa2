from __future__ import annotations

import pytest

from trainer_core.loggers.stdout import StdoutLogger, format_duration

RUN = {
    "name": "pick-place",
    "out_dir": "runs/pick-place",
    "total_steps": 200,
    "global_batch": 32,
    "device": "cpu",
    "parameters": 170_000,
}


def test_run_is_announced(capsys: pytest.CaptureFixture[str]) -> None:
    logger = StdoutLogger()
    logger.start(RUN | {"resumed_step": 50})
    logger.finish("completed")
    assert capsys.readouterr().out.splitlines() == [
        "pick-place: 200 steps of 32 samples on cpu, 170 k parameters -> runs/pick-place",
        "going on after step 50",
    ]


def test_run_that_is_done_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    StdoutLogger().start(RUN | {"resumed_step": 200})
    assert capsys.readouterr().out.splitlines()[1] == "nothing is left to train after step 200"


def test_line_has_metrics_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    logger = StdoutLogger()
    logger.start(RUN)
    capsys.readouterr()
    speed = {"data_s": 0.1, "step_s": 0.5, "samples_per_s": 64.0}
    logger.log({"epoch": 1.0, "samples": 32, "loss": 0.25, "lr": 1e-3, **speed}, 100)
    assert capsys.readouterr().out == (
        "step 100/200  loss 0.25  lr 0.001  64 samples/s  data 20%  0:50 left\n"
    )


def test_evaluation_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    logger = StdoutLogger()
    logger.start(RUN)
    capsys.readouterr()
    interval = {"eval/ci95_low": 0.786, "eval/ci95_high": 0.9573}
    logger.log({"epoch": 1.0, "eval/success_rate": 0.9, "eval/n": 50.0, **interval}, 200)
    assert capsys.readouterr().out == (
        "step 200/200  evaluation: success_rate 0.9  n 50  ci95 0.786 to 0.9573\n"
    )


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (75.9, "1:15"), (3723, "1:02:03")])
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_time_left_ends_with_the_time_limit(capsys: pytest.CaptureFixture[str]) -> None:
    logger = StdoutLogger()
    run = {"name": "tiny", "out_dir": "runs/tiny", "total_steps": 10_000}
    logger.start({**run, "max_time_s": 100.5, "wall_s": 40.0})
    logger.log({"loss": 1.0, "samples_per_s": 4.0, "step_s": 1.0}, 10)
    assert capsys.readouterr().out.endswith("data 0%  1:00 left\n")


@pytest.mark.parametrize(
    ("is_terminal", "line"), [(True, ""), (False, "step 10/200  grad_norm 1\n")]
)
def test_norms_of_components_make_no_line_longer(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    is_terminal: bool,
    line: str,
) -> None:
    logger = StdoutLogger()
    logger.start(RUN)
    capsys.readouterr()
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    logger.log({"grad_norm": 1.0, "grad_norm/encoder": 0.5, "grad_norm/decoder": 0.8}, 10)
    assert capsys.readouterr().out == line
