"""`trainer eval` measures a policy, writes what came out, and says what does not fit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from experiments_il.commands.evaluation_report import summary_lines
from experiments_il.evaluation.plan import EvaluationPlan, plan_evaluation
from experiments_il.evaluation.playing import Played, choose_folder, play
from experiments_il.loading import LoadedPolicy, find_policy, open_policy
from policy_constructor.errors import ConfigError
from trainer_core.cli import main
from trainer_core.discovery.plugins import discover
from trainer_core.engine.build import build_experiment
from trainer_core.engine.loop import fit
from trainer_core.errors import UserError
from trainer_core.experiment.loading import load_experiment
from trainer_core.ranks import LocalRanks

if TYPE_CHECKING:
    from pathlib import Path

    from trainer_core.protocols import EvaluationContext

STATE = "observation.state"
OWN = {"_type_": "metaworld", "task": "reach-v3", "episodes": 20, "every": 100}
TRAINER = {"_type_": "naive_flow_matching_policy_trainer", "max_steps": 3, "solver": "euler"}
SHORT = ["--env", "metaworld:reach-v3", "max_steps=3", "--videos=0", "--num-envs=2"]


class Listed:
    """Plays fixed outcomes: an evaluator of a stranger's wheel."""

    def __init__(self, outcomes: list[bool], stop_after: int = 1000) -> None:
        self.outcomes = outcomes
        self.stop_after = stop_after
        self.stopped = False

    def evaluate(self, context: EvaluationContext) -> dict[str, Any]:
        context.out_dir.mkdir(parents=True, exist_ok=True)
        policy = context.trainer.policy(context.normalizer)
        rows = []
        for number, success in enumerate(self.outcomes):
            policy.act({STATE: torch.zeros(2, 1, 39)})
            rows.append({"episode": number, "success": success, "steps": 3})
            context.progress(number + 1, len(self.outcomes), "")
            self.stopped = number + 1 >= self.stop_after
            if self.stopped:
                break
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (context.out_dir / "episodes.jsonl").write_text(lines)
        return {"success_rate": sum(r["success"] for r in rows) / len(rows), "n": len(rows)}


@pytest.fixture(scope="module")
def run(experiment_of_states: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluate") / "run"
    loaded = load_experiment(experiment_of_states, [f"run.out_dir={out}", "trainer.max_steps=2"])
    fit(build_experiment(loaded, LocalRanks()), out)
    return out


@pytest.fixture(scope="module")
def policy(run: Path) -> LoadedPolicy:
    return open_policy(find_policy(run))


def plan(**parameters: Any) -> EvaluationPlan:
    return EvaluationPlan({"_type_": "listed"}, parameters, "listed")


def measure(policy: LoadedPolicy, evaluator: Listed, folder: Path) -> Played:
    return play(
        policy,
        plan(),
        evaluator,
        folder,
        device=torch.device("cpu"),
        progress=lambda _done, _total, _text: None,
        interrupted=lambda: evaluator.stopped and evaluator.stop_after < 1000,
    )


def plan_of(env: str | None, *changes: str, own: Any = OWN, trainer: Any = TRAINER) -> Any:
    config = {"evaluation": own, "trainer": trainer}
    return plan_evaluation(config, env, changes, discover())


def test_section_of_the_run_is_the_default() -> None:
    found = plan_of(None, "episodes=5")
    assert found.evaluator == {"_type_": "metaworld", "task": "reach-v3", "episodes": 5}
    assert (found.parameters, found.label) == ({}, "metaworld-reach-v3")


def test_other_task_keeps_the_parameters_of_the_section() -> None:
    found = plan_of("metaworld:push-v3")
    assert found.evaluator == {"_type_": "metaworld", "task": "push-v3", "episodes": 20}


def test_changes_of_the_trainer_are_those_that_differ() -> None:
    found = plan_of(None, "trainer.solver=euler", "trainer.num_inference_steps=4")
    assert found.parameters == {"num_inference_steps": 4}


def test_run_without_section_needs_env() -> None:
    with pytest.raises(UserError, match=r"^the run has no evaluation: section; name an evaluator"):
        plan_of(None, own=None)


def test_setting_of_the_training_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        plan_of(None, "trainer.max_steps=9")
    said = "trainer.max_steps is about training: an evaluation does not read it"
    assert str(caught.value) == said


def test_env_without_a_name_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        plan_of(":reach-v3")
    said = "--env ':reach-v3': write NAME:TASK, such as metaworld:pick-place-v3"
    assert str(caught.value) == said


def test_task_without_its_evaluator_is_told_the_form() -> None:
    said = r"^--env 'pick-place-v3': write NAME:TASK, such as metaworld:pick-place-v3 \(installed: "
    with pytest.raises(UserError, match=said):
        plan_of("pick-place-v3")


@pytest.mark.parametrize(
    ("env", "change", "message"),
    [
        ("metawrold:reach-v3", "seed=1", "unknown evaluator 'metawrold'; did you mean 'metaworld'"),
        (None, "episods=3", "eval.metaworld has no parameter 'episods'; did you mean 'episodes'"),
        (None, "episodes=0", "evaluation.episodes: expected an integer >= 1, found 0"),
        (None, "trainer.solver=hen", "found 'hen'; did you mean 'heun'?"),
        (None, "trainer.execution=queue", "expected one of 'receding_horizon', 'temporal_ensemb"),
    ],
)
def test_mistakes_are_named_with_the_nearest_spelling(
    env: str | None, change: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(env, change)
    assert message in str(caught.value)


def test_result_tells_what_was_played_and_how(policy: LoadedPolicy, tmp_path: Path) -> None:
    played = measure(policy, Listed([True, False, True]), tmp_path / "out")
    written = json.loads((tmp_path / "out" / "result.json").read_text())
    assert written == played.result
    assert (written["n"], written["partial"], len(played.episodes)) == (3, False, 3)
    assert written["policy"]["weights"] == "ema"
    assert written["sampling"]["evaluations"] == 10
    assert (written["latency"]["plans"], written["latency"]["batch_size"]) == (3, 2.0)
    assert written["latency"]["p50_ms"] <= written["latency"]["max_ms"]


def test_interrupted_evaluation_is_marked(policy: LoadedPolicy, tmp_path: Path) -> None:
    played = measure(policy, Listed([True, False, True], stop_after=2), tmp_path / "out")
    assert played.is_partial
    assert played.result["n"] == 2


def test_interruption_after_the_last_episode_changes_nothing(
    policy: LoadedPolicy, tmp_path: Path
) -> None:
    assert not measure(policy, Listed([True, False], stop_after=2), tmp_path / "out").is_partial


def test_failed_evaluation_leaves_no_result(policy: LoadedPolicy, tmp_path: Path) -> None:
    evaluator = Listed([])  # divides by zero, after it wrote its episodes
    with pytest.raises(ZeroDivisionError):
        measure(policy, evaluator, tmp_path / "out")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["episodes.jsonl"]


def test_default_folder_is_never_that_of_another_evaluation(run: Path) -> None:
    source = find_policy(run)
    first = choose_folder(source, "listed", None)
    assert first == run / "evaluation" / "step-000000002-listed"
    first.mkdir(parents=True)
    assert choose_folder(source, "listed", None).name == "step-000000002-listed-2"


def test_folder_that_holds_something_is_refused(run: Path) -> None:
    with pytest.raises(UserError) as caught:
        choose_folder(find_policy(run), "listed", run)
    assert str(caught.value) == f"{run} exists and is not empty; name a new folder with --out"


def test_command_plays_and_tells(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["eval", str(run), *SHORT, "--episodes=3", f"--out={out}"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "episode  success  steps  return"
    assert [line.split()[:3] for line in told[1:4]] == [[str(n), "no", "3"] for n in range(3)]
    assert told[5] == "success rate 0.0% of 3 episodes (95% interval 0.0% to 56.1%)"
    assert told[-1] == f"results in {out}"


def test_two_policies_are_compared_on_the_same_episodes(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["eval", str(run), f"{run}@2", *SHORT, "--episodes=2", "--execution=temporal_ensembling"]
    assert main([*line, f"--out={tmp_path / 'out'}", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    first, second = document["evaluations"]
    assert first["episodes"] == second["episodes"]
    assert first["settings"]["trainer"] == {"execution": "temporal_ensembling"}
    assert first["result"]["latency"]["plans"] == 3
    assert document["comparison"]["neither"] == 2
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["n"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "POLICY is missing: the folder of a run, a checkpoint or an exported policy"),
        (["a", "b", "c"], "'c' is one too many: give one policy, or two to compare"),
        (
            ["a", "--seeed=3"],
            "unrecognized arguments: --seeed=3; a value is changed without dashes",
        ),
        (["a", "--device=tpu"], "'tpu' is no device: auto, cpu, cuda, cuda:N or mps"),
        (["nowhere"], "error: there is no folder nowhere"),
    ],
)
def test_wrong_command_lines_end_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["trainer.state_key=observation.velocity"],
            "the policy sees observation.velocity; Meta-World here gives observation.state, ",
        ),
        (["--env=pusht"], "the policy's actions have 4 dimensions, PushT's 2"),
        (["--env=metaworld:reech-v3"], "no task 'reech-v3'; did you mean 'reach-v3'"),
        (["--checkpoint=7"], "there are steps 2"),
    ],
)
def test_what_does_not_fit_is_named_and_leaves_nothing(
    run: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(run.rglob("*"))
    line = ["eval", str(run), "--env=metaworld:reach-v3", "--videos=0", "--num-envs=1"]
    assert main([*line, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert set(run.rglob("*")) - set(before) <= {run / "evaluation"}


def test_evaluator_without_success_tells_its_numbers(policy: LoadedPolicy, tmp_path: Path) -> None:
    played = measure(policy, Listed([True]), tmp_path / "out")
    numbers = {"off_mode_mass": 0.125, "seconds": 3.0}
    result = {name: played.result[name] for name in ("policy", "partial")} | numbers
    lines = summary_lines(Played(result, {}, [], tmp_path))
    assert lines[1] == "off_mode_mass 0.125, seconds 3"
