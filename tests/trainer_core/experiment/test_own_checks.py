"""A trainer and an evaluator that name a check of their own are asked before a run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from trainer_core import load_experiment
from trainer_core.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODULE = """\
class Judge:
    parameter_check = "judge_checks:{function}"
    def __init__(self, episodes: int = 8, speed: str = "slow"): ...
    def evaluate(self, context): ...
"""
CHECKS = """\
def check(parameters, report, view):
    view.sections["run"].get("name")
    if parameters["speed"] not in ("slow", "fast"):
        report(("evaluation", "speed"), "no such speed", ("fast",), on="value")
    if parameters["episodes"] > view.sections["trainer"]["max_steps"]:
        seen = f"{sorted(view.batches)} and {list(view.blocks)}"
        report(("evaluation", "episodes"), f"more than {seen}")

def watch(parameters, report, view):
    if view.sections.get("evaluation") is None:
        report(("runner",), "nothing to play")

def failing(parameters, report, view):
    report(("evaluation",), "is not said")
    raise ValueError("no luck")
"""


@pytest.fixture(params=["check"])
def judge(fake_wheel: Callable[..., Path], request: pytest.FixtureRequest) -> None:
    """A wheel with an evaluator that checks its parameters by a function."""
    sys.modules.pop("judge_checks", None)
    modules = {"judge.py": MODULE.format(function=request.param), "judge_checks.py": CHECKS}
    fake_wheel("judge", {"trainer_core.evaluators": {"judge": "judge:Judge"}}, modules)


@pytest.mark.usefixtures("judge")
@pytest.mark.parametrize(
    ("parameters", "path", "message"),
    [
        ("speed: fats", "evaluation.speed", "no such speed"),
        ("episodes: 100000", "evaluation.episodes", "more than ['index', 'x', 'y'] and []"),
    ],
)
def test_evaluator_checks_its_parameters_itself(
    parameters: str, path: str, message: str, experiment_file: Path
) -> None:
    changed = f"evaluation={{_type_: judge, {parameters}}}"
    (problem,) = load_experiment(experiment_file, [changed], strict=False).problems
    assert (problem.path, problem.message, problem.code) == (path, message, "wrong-value")
    assert problem.location is not None
    assert "judge" not in sys.modules


@pytest.mark.parametrize("judge", ["failing"], indirect=True)
@pytest.mark.usefixtures("judge")
def test_check_that_fails_itself_is_a_warning(experiment_file: Path) -> None:
    loaded = load_experiment(experiment_file, ["evaluation={_type_: judge}"], strict=False)
    assert loaded.problems == []
    (warning,) = loaded.warnings
    reason = "'judge_checks:failing' failed: ValueError: no luck"
    assert warning.message == f"what eval.judge checks itself is not known: {reason}"


@pytest.mark.usefixtures("judge")
def test_section_that_is_none_is_left_out_of_what_is_looked_at(experiment_file: Path) -> None:
    wrong = ["evaluation={_type_: judge, speed: fats}", "run=5"]
    loaded = load_experiment(experiment_file, wrong, strict=False)
    assert {problem.path for problem in loaded.problems} == {"evaluation.speed", "run"}
    assert loaded.warnings == []


@pytest.mark.usefixtures("judge")
def test_section_with_other_mistakes_is_left_alone(experiment_file: Path) -> None:
    changed = "evaluation={_type_: judge, speed: fats, episode: 3}"
    (problem,) = load_experiment(experiment_file, [changed], strict=False).problems
    assert problem.code == "unknown-key"


RUNNER = """\
class Playing:
    laid_over = {"rollout": "evaluation"}
    parameter_check = "judge_checks:watch"
    def __init__(self, rollout: dict[str, object] | None = None): ...
    def run(self, experiment): ...
"""


@pytest.mark.usefixtures("judge")
@pytest.mark.parametrize(
    ("rollout", "path", "message"),
    [
        ("epsodes: 3", "runner.rollout.epsodes", "eval.judge has no parameter 'epsodes'"),
        ("episodes: few", "runner.rollout.episodes", "expected an integer, found 'few'"),
    ],
)
def test_keys_laid_over_another_section_are_those_of_its_component(
    rollout: str,
    path: str,
    message: str,
    fake_wheel: Callable[..., Path],
    experiment_file: Path,
) -> None:
    groups = {"trainer_core.runners": {"playing": "playing:Playing"}}
    fake_wheel("playing", groups, {"playing.py": RUNNER})
    sections = ["evaluation={_type_: judge}", "runner={_type_: playing, rollout: {speed: fast}}"]
    assert load_experiment(experiment_file, sections, strict=False).problems == []
    changed = [*sections, f"runner.rollout={{{rollout}}}"]
    (problem,) = load_experiment(experiment_file, changed, strict=False).problems
    assert (problem.path, problem.message) == (path, message)


@pytest.mark.usefixtures("judge")
def test_runner_checks_the_whole_file_also_when_the_command_line_names_it(
    fake_wheel: Callable[..., Path], experiment_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = {"trainer_core.runners": {"playing": "playing:Playing"}}
    fake_wheel("playing", groups, {"playing.py": RUNNER})
    assert main(["check", str(experiment_file), "--runner", "playing"]) == 2
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "<cli>:1:10: error: runner: nothing to play"
    assert main(["check", str(experiment_file), "--runner=playing", "evaluation._type_=judge"]) == 0
    assert "playing" not in sys.modules


def test_runner_of_several_processes_checks_its_keys(experiment_file: Path) -> None:
    wrong = "nnodes: 2, bucket_cap_mb: 9.0, strategy: fsdp, fsdp_wrap: {modle: ['*']}"
    changed = f"runner={{_type_: ddp, {wrong}}}"
    problems = load_experiment(experiment_file, [changed], strict=False).problems
    assert [(problem.path, problem.message) for problem in problems] == [
        ("runner.nnodes", "nnodes: 2 needs rdzv_endpoint, 'host:port' of one of the machines"),
        ("runner.bucket_cap_mb", "bucket_cap_mb is a key of strategy: ddp, and this is fsdp"),
        ("runner.fsdp_wrap.modle", "fsdp_wrap: 'modle' is no component; did you mean 'model'?"),
    ]


def test_key_of_another_runner_is_told_whose_it_is(experiment_file: Path) -> None:
    changed = "runner={_type_: local, nnodes: 2}"
    (problem,) = load_experiment(experiment_file, [changed], strict=False).problems
    assert problem.message == "runner.local has no parameter 'nnodes'"
    assert problem.notes[0] == "'nnodes' is a parameter of runner.ddp"
