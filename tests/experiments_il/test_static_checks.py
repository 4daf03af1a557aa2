"""What `trainer check` says of data, policies and simulators before anything is imported."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from experiments_il.data.near_paths import missing_data
from trainer_core.cli import main
from trainer_core.experiment.loading import load_experiment

if TYPE_CHECKING:
    from pathlib import Path

MIXTURE = (
    "data={_merge_: replace, _type_: mixture, batch_size: 4, datasets: {lab: ROOT, sim: ROOT}}"
)
CAMERAS = "evaluation={_type_: %s, cameras: {observation.images.top: %s}}"


def problems_of(file: Path, *overrides: str) -> list[str]:
    """Return what is found, as `path: message` and the suggestions."""
    found = load_experiment(file, overrides, strict=False)
    return [
        f"{problem.path}: {problem.message}" + "".join(f" ~ {near}" for near in problem.suggestions)
        for problem in [*found.problems, *found.absent]
    ]


def mixture_of(file: Path, rate: float = 10) -> str:
    """Return the override that mixes the experiment's data with a copy of another rate."""
    root, other = file.parent / "data", file.parent / f"at_{rate:g}"
    info = json.loads((root / "meta/info.json").read_text())
    (other / "meta").mkdir(parents=True, exist_ok=True)
    (other / "meta/info.json").write_text(json.dumps({**info, "fps": rate}))
    members = [
        f"{{_type_: lerobot, root: {each}, windows: {{action: [0, 8]}}}}" for each in (root, other)
    ]
    return MIXTURE.replace("ROOT", members[0], 1).replace("ROOT", members[1], 1)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.weights={lab: 1, sym: 2}"], "data.weights.sym: there is no data set 'sym' ~ sim"),
        (["data.weights={lab: 1}"], "data.weights: 'sim' has no weight"),
        (["data.statistics=lap"], "data.statistics: expected 'merged' or a data set, found 'lap'"),
        (
            ["data.rename={lab: {acton: a}}"],
            "data.rename.lab.acton: 'lab' has no key 'acton' ~ ac",
        ),
        (["data.pad={action: 3}"], "data.pad.action: 'action' of 'lab' is 4 wide, more than 3"),
        (
            ["data.datasets.sim.windows.action=[0, 6]"],
            "data.datasets.sim: 'action' is [8, 4] in 'lab' and [6, 4] in 'sim'; use pad, rename",
        ),
        (["data.keys=[acton]"], "data.keys.0: 'lab' has no key 'acton' ~ action"),
        (
            ["data.datasets.sim.episodes=[0, 2]"],
            "data.datasets.sim.episodes.1: there is no",
        ),
    ],
)
def test_mixture_that_does_not_fit_is_found(
    overrides: list[str], said: str, experiment_of_states: Path
) -> None:
    mixture = mixture_of(experiment_of_states)
    assert problems_of(experiment_of_states, mixture) == []
    assert problems_of(experiment_of_states, mixture, *overrides)[0].startswith(said)


def test_mixture_of_two_frame_rates_is_found(experiment_of_states: Path) -> None:
    mixture = mixture_of(experiment_of_states, 25)
    assert problems_of(experiment_of_states, mixture, "data.mixed_fps=true") == []
    (said,) = problems_of(experiment_of_states, mixture)
    assert said.startswith(
        "data.datasets: the data sets have different frame rates (frames/s: 'lab'"
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.windows.action=[0, 6]", "action_decoder has horizon 8, data.windows.action has 6"),
        (
            "models.action_decoder.action_dim=5",
            "action_decoder has action_dim 5, 'action' of the",
        ),
        (
            "models.state_encoder.state_dim=38",
            "state_encoder has state_dim 38, 'observation.",
        ),
        ("data.windows={observation.state: [-1, 1]}", "state_encoder has n_obs_steps 1, 'observa"),
        ("data.windows=null", "'action' has no window, and chunks are learned: action: [0, 8]"),
        ("trainer.n_action_steps=9", "a chunk has 8 actions from the current frame on (horizon 8"),
        ("trainer.augment={_type_: random_shift}", "there are no images to change: augment needs"),
        (
            "trainer.augment={front: {_type_: random_shift}}",
            "'front' is no camera of this policy; trainer.cameras has none",
        ),
        ("data.relative_actions={action: {dims: [0, 1]}}", "4 dimensions, 'dims' has 2 entries"),
        (
            "data.relative_actions={action: {}}",
            "has 4 dimensions, 'observation.state' 39: say",
        ),
        ("data.episodes=[0, 7]", "there is no episode 7; the data set has 0 to 1"),
        (
            "data.delta_timestamps={action: [0]}",
            "is given in windows and in delta_timestamps",
        ),
        (CAMERAS % ("metaworld, task: reach-v3", "topviw"), "Meta-World has no camera 'topviw'"),
        (CAMERAS % ("pusht", "tpo"), "PushT has no camera 'tpo' (for observation.images.top); the"),
        (
            "evaluation={_type_: metaworld_modes, task: reach-v2}",
            "Meta-World with an obstacle has no task 'reach-v2' ~ reach-v3",
        ),
    ],
)
def test_file_that_does_not_fit_its_data_is_found(
    override: str, said: str, experiment_of_states: Path
) -> None:
    found = problems_of(experiment_of_states, override)
    assert any(problem.partition(": ")[2].startswith(said) for problem in found), found


def test_camera_of_the_augmentation_is_compared_with_those_of_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    changed = "trainer.augment={_merge_: replace, observation.images.tpo: {_type_: random_shift}}"
    (said,) = problems_of("il/button_press_images_small", changed)  # type: ignore[arg-type]
    assert said.startswith("trainer.augment.observation.images.tpo: 'observation.images.tpo' is no")
    assert " ~ observation.images.top ~ " in said


def test_camera_that_the_simulator_is_not_told_of_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (said, *_) = problems_of("il/button_press_images_small", "~evaluation.cameras")  # type: ignore[arg-type]
    assert said.startswith(
        "evaluation: the policy sees 'observation.images.top' (trainer.cameras), and evaluation.ca"
    )


def test_check_says_where_the_missing_data_set_may_be(
    experiment_of_states: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = experiment_of_states.parent / "dta"
    assert main(["check", str(experiment_of_states), f"data.root={root}"]) == 2
    said = capsys.readouterr().err
    near = root.with_name("data")
    assert said.startswith(
        f"<cli>:1:11: error: data.root: there is no data set at '{root}'; did you mean '{near}'?\n"
    )


def test_run_says_in_which_section_of_the_file_the_data_set_is(
    experiment_of_states: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = experiment_of_states.parent / "dta"
    assert main(["run", str(experiment_of_states), f"data.root={root}", "--dry-run"]) == 2
    assert f"\n    = data at {experiment_of_states}:8:7\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("demoz", ("", ("{0}/demos",))),
        ("demoz/lab", ("", ("{0}/demos",))),
        ("elsewhere", ("; '{0}' holds demos, more", ())),
        ("demos/x", ("; '{0}/demos' holds nothing", ())),
    ],
)
def test_what_lies_near_a_missing_path_is_said(lost: str, said: Any, tmp_path: Path) -> None:
    for name in ("demos", "more", ".hidden"):
        (tmp_path / name).mkdir()
    message, near = said
    there = message.format(tmp_path), tuple(each.format(tmp_path) for each in near)
    assert missing_data(tmp_path / lost) == there
