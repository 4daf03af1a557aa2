"""What the online runner refuses before an actor starts, each with its place in the file."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import trainer_core
from policy_constructor.errors import ConfigError
from trainer_core.errors import UserError
from trainer_core.experiment.loading import load_experiment
from trainer_core.protocols import Runner
from trainer_ray.online.runner import RayOnlineRunner

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 90


def test_the_online_runner_fits_the_protocol() -> None:
    assert isinstance(RayOnlineRunner(), Runner)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rollout_workers": 0}, "rollout_workers is a number of at least 1, not 0"),
        ({"prefetch": 1}, "prefetch is a number of at least 2, not 1"),
        ({"online_share": 0.0}, "online_share is above 0 and at most 1, not 0.0"),
        ({"target_success": 1.5}, "target_success is above 0 and at most 1, not 1.5"),
        ({"keep": "best"}, "keep is successes or all, not 'best'"),
        ({"fill_timeout_s": 0}, "fill_timeout_s must be positive, not 0"),
        ({"priority_exponent": -1.0}, "priority_exponent is at least 0 and finite, not -1.0"),
        (
            {"capacity": 10, "min_frames": 20},
            "min_frames: 20 never come together in a capacity of 10",
        ),
        (
            {"replay_buffer": "a", "policy_state_manager": "a"},
            "replay_buffer and policy_state_manager are two names, not ('a', 'a')",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        RayOnlineRunner(**given).run(experiment=None)  # type: ignore[arg-type] # refused before
    assert str(caught.value) == f"runner ray_online: {message}"


MIX = "runner ray_online cannot mix new episodes with data.alone: its data set Alone is no "
PLAY = "runner ray_online needs an evaluator that plays without end; eval.still is no "
ALONE = "of the run (trainer.max_steps) are on the data set alone"
TWO_NAMES = "replay_buffer and policy_state_manager are two names, not"
FROM_THE_TEXT = {
    "evaluation=null": (
        "runner",
        "runner ray_online plays what an evaluator plays; the file has no 'evaluation' section",
    ),
    "data.num_workers=2": (
        "data.num_workers",
        "runner ray_online fetches its samples in a thread of the learner; num_workers is 0, not 2",
    ),
    "trainer={_merge_: replace, _type_: default, max_epochs: 2}": (
        "trainer.max_epochs",
        "the length of a run with runner ray_online is given in steps: use max_steps",
    ),
    "trainer.overfit_batches=1": (
        "trainer.overfit_batches",
        "runner ray_online cannot overfit: each batch has new samples; remove the key",
    ),
    "runner={_type_: ray_online, target_success: 0.5}": (
        "runner.target_success",
        "target_success is never measured before the end; set evaluation.every",
    ),
    "runner.online_share=0.01": (
        "runner.online_share",
        "an online_share of 0.01 of a batch of 8 is no sample; 0.125 is one",
    ),
    "runner.offline_steps=60": (
        "runner.offline_steps",
        f"all 60 steps {ALONE}; lower offline_steps, or use the runner local",
    ),
    "runner.capacity=15": (
        "runner.min_frames",
        "min_frames: 16 never come together in a capacity of 15",
    ),
    "runner.policy_state_manager=replay_buffer": (
        "runner.replay_buffer",
        f"{TWO_NAMES} ('replay_buffer', 'replay_buffer')",
    ),
    "runner.runtime_env={pip: auto}": (
        "runner.runtime_env.pip",
        "pip: auto is of the runner ray; name the packages that rollout workers need",
    ),
    "runner.rollout={winz: 3}": (
        "runner.rollout.winz",
        "eval.toy has no parameter 'winz'",
    ),
}
REFUSED = FROM_THE_TEXT | {
    "data={_merge_: replace, _type_: alone, batch_size: 8}": (
        "data",
        f"{MIX}trainer_core.online.OnlineData (it has no episode_keys and no batch_of_windows)",
    ),
    "evaluation={_merge_: replace, _type_: still}": (
        "evaluation",
        f"{PLAY}trainer_core.online.EpisodeSource (it has no collect)",
    ),
}


@pytest.mark.parametrize("change", REFUSED)
def test_a_file_that_cannot_be_learned_from_is_refused_with_its_place(
    toy_file: Path, change: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        trainer_core.run(toy_file, ["evaluation.every=0", change], dry_run=True)
    problem = caught.value.problems[0]
    assert (problem.path, problem.message) == REFUSED[change]
    assert not (toy_file.parent / "run").exists()


@pytest.mark.parametrize("change", FROM_THE_TEXT)
def test_the_check_of_the_file_says_the_same(toy_file: Path, change: str) -> None:
    loaded = load_experiment(toy_file, ["evaluation.every=0", change], strict=False)
    found = [(problem.path, problem.message) for problem in loaded.problems]
    assert found == [FROM_THE_TEXT[change]]
    assert loaded.problems[0].location is not None


def test_a_runner_that_a_hook_has_chosen_is_checked_when_it_runs(toy_file: Path) -> None:
    loaded = load_experiment(toy_file, ["data.num_workers=2", "evaluation=null"], runner="local")
    with pytest.raises(ConfigError) as caught:
        RayOnlineRunner().run(loaded)
    assert [each.path for each in caught.value.problems] == ["runner", "data.num_workers"]


def test_a_buffer_that_no_memory_holds_is_told(
    toy_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer_core.run(toy_file, ["runner.capacity=1000000000000"], dry_run=True)
    said = (
        "runner.capacity: 1000000000000 frames take 52000 GB once they are there; this machine has"
    )
    assert said in caplog.text


def test_a_dry_run_builds_everything_and_starts_nothing(toy_file: Path) -> None:
    result = trainer_core.run(toy_file, dry_run=True)
    assert (result.status, result.report["total_steps"]) == ("checked", 60)
    assert not (toy_file.parent / "run").exists()


def test_the_file_is_checked_without_ray_and_torch(toy_file: Path) -> None:
    text = yaml.safe_load(toy_file.read_text())
    wrong = {"prefech": 3, "use_gpu": True}
    toy_file.write_text(yaml.safe_dump({**text, "runner": {**text["runner"], **wrong}}))
    program = (
        "import sys\nfrom trainer_core.cli import main\n"
        f"code = main(['check', {str(toy_file)!r}])\n"
        "print([name for name in ('ray', 'torch', 'numpy') if name in sys.modules], code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert "'prefech'" in done.stdout + done.stderr
    assert "did you mean 'prefetch'?" in done.stdout + done.stderr
    assert "= 'use_gpu' is a parameter of runner.ray" in done.stderr
    assert done.stdout.splitlines()[-1] == "[] 2"
