from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trainer_core import ConfigError, TrainerError, load_experiment
from trainer_core.discovery.plugins import discover

if TYPE_CHECKING:
    from collections.abc import Callable

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "experiment-file.md"
BACKBONE = """\
params: {width: 16}
model:
  sequential:
    inputs: [state]
    layers:
      - {_type_: nn.Linear, in_features: 4, out_features: "${params.width}"}
"""
TWO_MODELS = """\
run: {name: two, out_dir: runs/two}
models:
  backbone: {config: backbone.yaml, freeze: true}
  head:
    _type_: nn.Linear
    in_features: 16
    out_features: 2
    optimizer: {_type_: SGD, lr: 0.1}
data: {_type_: random_regression, x_shape: [4], y_shape: [2], batch_size: 8}
trainer: {_type_: naive_flow_matching_policy_trainer, max_steps: 1}
"""


@pytest.fixture
def two_models(experiment_file: Path) -> Path:
    """An experiment of two components, one of them in a model file."""
    folder = experiment_file.parent / "exp"
    folder.mkdir()
    (folder / "backbone.yaml").write_text(BACKBONE)
    (folder / "two.yaml").write_text(TWO_MODELS)
    return folder / "two.yaml"


def test_names_of_components_become_full_ids(experiment_file: Path) -> None:
    config = load_experiment(experiment_file).config

    assert config.trainer.component == {"_type_": "trainer.default"}
    assert config.loss == {"_type_": "loss.torch", "fn": {"_type_": "nn.MSELoss"}}
    assert config.optimizer is not None
    assert config.optimizer.component == {"_type_": "optim_cls.AdamW", "lr": 1e-3}
    assert config.scheduler is not None
    assert config.scheduler["_type_"] == "sched_factory.torch"


def test_example_of_the_reference_is_a_right_file(experiment_file: Path) -> None:
    experiment_file.write_text(REFERENCE.read_text().split("```yaml\n")[1].split("```")[0])

    assert load_experiment(experiment_file).config.run.out_dir == "runs/first"


def test_single_model_is_the_component_model(experiment_file: Path) -> None:
    experiment = load_experiment(experiment_file)

    assert list(experiment.models) == ["model"]
    assert experiment.models["model"].graph.inputs == ("x",)
    assert experiment.config.run.out_dir == "runs/first"


def test_model_file_lies_beside_the_experiment(two_models: Path) -> None:
    experiment = load_experiment(two_models, strict=False)

    plan = experiment.models["backbone"]
    assert plan.graph.inputs == ("state",)
    assert not plan.trainable
    assert experiment.models["head"].trainable


def test_params_of_a_component_replace_the_model_files(two_models: Path) -> None:
    experiment = load_experiment(two_models, ["models.backbone.params.width=32"], strict=False)

    resolved = experiment.models["backbone"].resolved
    assert resolved.data["model"]["sequential"]["layers"][0]["out_features"] == 32


def test_wrong_value_for_a_model_file_points_at_the_experiment(two_models: Path) -> None:
    two_models.write_text(
        TWO_MODELS.replace("freeze: true}", "freeze: true, params: {width: wide}}")
    )

    problems = load_experiment(two_models, strict=False).problems

    found = [(p.path, p.message, str(p.location)) for p in problems if "width" in p.path]
    assert found == [
        (
            "models.backbone.params.width",
            "expected an integer, found 'wide'",
            "exp/two.yaml:3:67",
        )
    ]


def test_unknown_parameter_of_a_model_file_is_named(two_models: Path) -> None:
    problems = load_experiment(
        two_models, ["models.backbone.params.widht=3"], strict=False
    ).problems

    found = [(p.message, p.suggestions) for p in problems if "widht" in p.path]
    assert found == [("the model file has no parameter 'widht'", ("width",))]


def test_mistake_in_a_model_file_has_its_include_chain(two_models: Path) -> None:
    (two_models.parent / "backbone.yaml").write_text(BACKBONE.replace("in_features", "in_featres"))

    problems = load_experiment(two_models, strict=False).problems

    found = [p for p in problems if p.location and p.location.file == "exp/backbone.yaml"]
    assert [p.message for p in found] == ["nn.Linear has no parameter 'in_featres'"]
    assert found[0].location is not None
    assert [str(place) for place in found[0].location.included_from] == ["exp/two.yaml:3:22"]


def test_missing_model_file_names_its_neighbour(two_models: Path) -> None:
    two_models.write_text(TWO_MODELS.replace("backbone.yaml", "backbon.yaml"))

    problems = load_experiment(two_models, strict=False).problems

    found = [(p.message, p.suggestions) for p in problems if p.code == "missing-file"]
    assert found == [("there is no model file 'exp/backbon.yaml'", ("backbone.yaml", "two.yaml"))]


def test_trained_component_needs_an_optimizer(two_models: Path) -> None:
    problems = load_experiment(two_models, ["models.head.optimizer=null"], strict=False).problems

    message = "the file needs 'optimizer': nothing trains models.head"
    assert message in [problem.message for problem in problems]


def test_config_of_a_file_with_mistakes_is_refused(experiment_file: Path) -> None:
    experiment = load_experiment(experiment_file, ["run.seed=x"], strict=False)

    with pytest.raises(ConfigError, match="expected an integer"):
        _ = experiment.config


def test_experiment_may_come_from_python() -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment({"run": {"name": "a"}})

    texts = [f"{problem.path}: {problem.message}" for problem in caught.value.problems]
    assert texts == [
        "run: run needs 'out_dir'",
        ": the file needs 'model'",
        ": the file needs 'data'",
        ": the file needs 'trainer'",
    ]


def test_missing_file_names_nearest_file_and_recipe(experiment_file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment("exq.yaml")

    assert str(caught.value) == (
        "error: there is no file and no recipe 'exq.yaml'; did you mean 'exp.yaml'?"
    )
    assert experiment_file.exists()


def test_folder_is_no_experiment(experiment_file: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder, not an experiment file"):
        load_experiment(str(experiment_file.absolute().parent))


def test_included_file_that_is_missing_hides_no_other_mistake(experiment_file: Path) -> None:
    text = "defaults: [base.yaml]\nrun: {name: a, out_dir: b, seed: x}\n"
    experiment_file.write_text(text)

    problems = load_experiment(experiment_file, strict=False).problems

    assert [problem.code for problem in problems] == ["missing-file", "wrong-type"]


def test_option_replaces_the_runner_of_the_file(experiment_file: Path) -> None:
    experiment = load_experiment(experiment_file, runner="ddp", strict=False)

    assert experiment.config.runner == {"_type_": "runner.ddp"}


def test_overrides_set_parameters_of_the_runner_of_the_option(experiment_file: Path) -> None:
    text = experiment_file.read_text()
    experiment_file.write_text(text + "runner: {_type_: fake, width: 3}\n")

    experiment = load_experiment(
        experiment_file, ["runner.nproc_per_node=2"], runner="ddp", strict=False
    )

    assert experiment.config.runner == {"_type_": "runner.ddp", "nproc_per_node": 2}


def test_runner_of_an_override_gives_no_parameters_to_that_of_the_option(
    experiment_file: Path,
) -> None:
    changes = ["runner={_type_: ddp, nproc_per_node: 2}"]

    experiment = load_experiment(experiment_file, changes, runner="local", strict=False)

    assert experiment.config.runner == {"_type_": "runner.local"}


def test_unknown_runner_option_is_shown_as_typed(experiment_file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(experiment_file, runner="locla")

    assert str(caught.value).splitlines()[:3] == [
        "<cli>:1:10: error: runner._type_: unknown runner 'locla'; did you mean 'local'?",
        "  1 | --runner locla",
        "    |          ^^^^^",
    ]


def test_hook_may_change_the_resolved_file(
    experiment_file: Path, fake_wheel: Callable[..., Path]
) -> None:
    hook = (
        "from trainer_core import hookimpl\n\n@hookimpl\ndef trainer_config_resolved(config):\n"
        "    config['run']['seed'] = 'x'\n    return config\n"
    )
    fake_wheel("acme-cfg", {"trainer_core.hooks": {"c": "acme_cfg"}}, {"acme_cfg.py": hook})

    with pytest.raises(ConfigError) as caught:
        load_experiment(experiment_file, hooks=True)

    first = str(caught.value).splitlines()[0]
    assert first.startswith("<hook acme-cfg::c>:1:1: error: run.seed: expected an integer")
    assert load_experiment(experiment_file).config.run.seed == 1


def test_hook_that_fails_is_named(experiment_file: Path, fake_wheel: Callable[..., Path]) -> None:
    hook = (
        "from trainer_core import hookimpl\n\n@hookimpl\ndef trainer_config_resolved():\n"
        "    raise KeyError('x')\n"
    )
    fake_wheel("acme-sad", {"trainer_core.hooks": {"s": "acme_sad"}}, {"acme_sad.py": hook})

    with pytest.raises(TrainerError) as caught:
        load_experiment(experiment_file, hooks=True)

    message = "trainer_config_resolved of acme-sad::s failed: KeyError: 'x'"
    assert str(caught.value) == message


def test_disabled_hook_plugin_is_not_started(
    experiment_file: Path, fake_wheel: Callable[..., Path]
) -> None:
    fake_wheel("acme-off", {"trainer_core.hooks": {"o": "acme_off"}}, {"acme_off.py": "1 / 0\n"})
    experiment = load_experiment(
        experiment_file, ["plugins.disable=[acme-off]"], plugins=discover(), hooks=True
    )

    assert experiment.plugins.hook_problems == []


def test_check_starts_no_plugin_of_pydantic(
    experiment_file: Path, fake_wheel: Callable[..., Path], tmp_path: Path
) -> None:
    site = fake_wheel("intruder", {"pydantic": {"intruder": "intruder_plugin:plugin"}})
    (site / "intruder_plugin.py").write_text("raise SystemExit('imported')\n")
    code = "import sys; from trainer_core.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "check", str(experiment_file)]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        command,
        check=False,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
