from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trainer_core import ConfigError, load_experiment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


SUPPLIED = "optim_cls.AdamW gets 'params' from the framework; a file cannot set it"


def problems_of(file: Path, *overrides: str) -> list[str]:
    found = load_experiment(file, overrides, strict=False).problems
    return [f"{problem.path}: {problem.message}" for problem in found]


def test_right_file_has_no_problems(experiment_file: Path) -> None:
    assert problems_of(experiment_file) == []


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("run.seed=wide", "run.seed: expected an integer, found 'wide'"),
        ("run.seed=-1", "run.seed: expected at least 0, found -1"),
        ("run.seed=1.5", "run.seed: expected an integer, found 1.5"),
        ("run.deterministic=1", "run.deterministic: expected true or false, found 1"),
        ("run.name=''", "run.name: expected a text that is not empty, found ''"),
        (
            r'run.out_dir="a\0"',
            r"run.out_dir: expected a text without control characters, found 'a\x00'",
        ),
        ("run.threads=100000", "run.threads: expected at most 1024, found 100000"),
        ("run.resume=[1]", "run.resume: expected a string or an integer, found a list"),
        (
            "run.precision=fp8",
            "run.precision: expected one of 'auto', 'fp32', 'bf16', 'fp16', found 'fp8'",
        ),
        (
            "run.device=gpu",
            "run.device: expected 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', found 'gpu'",
        ),
        ("run=3", "run: expected a mapping, found 3"),
        ("callbacks=3", "callbacks: expected a list, found 3"),
        ("callbacks=[3]", "callbacks.0: expected a mapping, found 3"),
        ("trainer.max_steps=0", "trainer.max_steps: expected at least 1, found 0"),
        (
            "trainer.grad_clip_norm=0",
            "trainer.grad_clip_norm: expected more than 0 or a mapping, found 0",
        ),
        (
            "trainer.grad_clip_norm=.inf",
            "trainer.grad_clip_norm: expected a finite number or a mapping, found inf",
        ),
        ("data.x_shape=wide", "data.x_shape: expected a list of integers, found 'wide'"),
        ("optimizer.lr=fast", "optimizer.lr: expected a number, found 'fast'"),
        ("loss._type_=3", "loss._type_: expected the name of a loss, found 3"),
        ("loss.fn._type_=nn.L1Los", "loss.fn._type_: unknown block 'nn.L1Los'"),
        ("loss._type_=ema", "loss._type_: 'ema' is a callback, not a loss"),
        ("scheduler.type=StepRL", "scheduler.type: unknown scheduler 'StepRL'"),
        (
            "scheduler.kwargs.eta_mni=1",
            "scheduler.kwargs.eta_mni: sched_cls.CosineAnnealingLR has no parameter 'eta_mni'",
        ),
        (
            "optimizer.params=[]",
            "optimizer.params: " + SUPPLIED,
        ),
        (
            "trainer.max_epochs=2",
            "trainer.max_epochs: 'max_steps' and 'max_epochs' exclude each other",
        ),
        ("~io", ": the file needs 'io', which trainer.default takes"),
        ("~optimizer", ": the file needs 'optimizer': nothing trains model"),
        ("io.model_kwargs.z=[z]", "io.model_kwargs.z: the model has no input 'z'"),
        (
            "io.targets.y=[z]",
            "io.targets.y.0: the batches of data.random_regression have no 'z'",
        ),
        ("model.freeze=3", "model.freeze: expected true or false, found 3"),
        (
            "optimizer.betas={_type_: nn.ReLU}",
            "optimizer.betas: an optimizer's arguments are plain values, not components",
        ),
        ("models={a: {}}", "models: 'model' and 'models' exclude each other"),
        ("imports=[a.b]", "imports: 'imports' cannot list modules to import"),
        ("plugins=[a.b]", "plugins: 'plugins' cannot list modules to import"),
    ],
)
def test_mistake_is_named_at_its_key(override: str, expected: str, experiment_file: Path) -> None:
    assert expected in problems_of(experiment_file, override)


@pytest.mark.parametrize(
    ("old", "new", "line", "message", "nearest"),
    [
        ("seed: 1", "sed: 1", 6, "run.sed: unknown key 'sed'", "seed"),
        ("out_dir", "out_dri", 5, "run.out_dri: unknown key 'out_dri'", "out_dir"),
        (
            "  _type_: default",
            "  _typ_: default",
            37,
            "trainer._typ_: unknown key '_typ_'",
            "_type_",
        ),
        ("scheduler:", "schedular:", 32, "schedular: unknown key 'schedular'", "scheduler"),
        ("optimizer:", "optimiser:", 29, "optimiser: unknown key 'optimiser'", "optimizer"),
        (
            "max_steps",
            "max_stps",
            38,
            "trainer.max_stps: trainer.default has no parameter 'max_stps'",
            "max_steps",
        ),
        (
            "batch_size",
            "btach_size",
            21,
            "data.btach_size: data.random_regression has no parameter 'btach_size'",
            "batch_size",
        ),
        (
            "x_shape",
            "x_shap",
            19,
            "data.x_shap: data.random_regression has no parameter 'x_shap'",
            "x_shape",
        ),
    ],
)
def test_misspelt_key_is_one_problem(
    old: str, new: str, line: int, message: str, nearest: str, experiment_file: Path
) -> None:
    experiment_file.write_text(experiment_file.read_text().replace(old, new))

    found = load_experiment(experiment_file, strict=False).problems

    texts = [f"{problem.path}: {problem.message}" for problem in found]
    assert texts == [message]
    assert found[0].suggestions[0] == nearest
    assert found[0].location is not None
    assert found[0].location.line == line


def test_all_problems_come_in_file_order(experiment_file: Path) -> None:
    text = experiment_file.read_text().replace("seed: 1", "seed: x").replace("lr: 1e-3", "lr: x")
    experiment_file.write_text(text.replace("nn.MSELoss", "nn.MSELos"))

    with pytest.raises(ConfigError) as caught:
        load_experiment(experiment_file)

    paths = [problem.path for problem in caught.value.problems]
    assert paths == ["run.seed", "loss.fn._type_", "optimizer.lr"]


def test_rendered_problem_shows_line_and_caret(experiment_file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(experiment_file, ["run.seed=x"])

    assert str(caught.value) == (
        "<cli>:1:10: error: run.seed: expected an integer, found 'x'\n"
        "  1 | run.seed=x\n"
        "    |          ^\n"
        "    = replaces 1 from exp.yaml:6:9"
    )


def test_misspelt_model_input_is_one_problem(experiment_file: Path) -> None:
    text = experiment_file.read_text().replace("inputs: [x]", "inputs: [state]")
    experiment_file.write_text(text.replace("model_kwargs: {x:", "model_kwargs: {stat:"))

    assert problems_of(experiment_file) == [
        "io.model_kwargs.stat: the model has no input 'stat'"
    ]  # fmt: skip


def test_missing_model_input_is_named(experiment_file: Path) -> None:
    found = problems_of(experiment_file, "io.model_kwargs={_merge_: replace, _value_: {}}")

    assert found == ["io.model_kwargs: io.model_kwargs lacks the model's input 'x'"]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["scheduler.interval=metric"],
            ["scheduler.interval: 'interval: metric' needs 'monitor', the name of a metric"],
        ),
        (
            ["scheduler.interval=metric", "scheduler.monitor=success_rate"],
            ["scheduler.monitor: nothing measures 'success_rate'"],
        ),
        (
            ["scheduler.interval=metric", "scheduler.monitor=val/loss"],
            ["scheduler.monitor: 'val/loss' is measured only at the end of the run"],
        ),
        (
            [
                "scheduler.interval=metric",
                "scheduler.monitor=val/loss",
                "trainer.val_every_n_steps=5",
            ],
            [],
        ),
        (
            [
                "scheduler.interval=metric",
                "scheduler.monitor=success_rate",
                "evaluation={_type_: metaworld, task: reach-v3, every: 10}",
            ],
            [],
        ),
    ],
)
def test_metric_schedule_needs_a_measured_metric(
    overrides: list[str], expected: list[str], experiment_file: Path
) -> None:
    assert problems_of(experiment_file, *overrides) == expected


def test_wheels_with_one_name_are_both_named(
    experiment_file: Path, fake_wheel: Callable[..., Path]
) -> None:
    for name in ("acme-a", "acme-b"):
        fake_wheel(name, {"trainer_core.losses": {"slope": f"{name.replace('-', '_')}:Slope"}})

    found = problems_of(experiment_file, "loss={_merge_: replace, _value_: {_type_: slope}}")

    message = (
        "loss._type_: loss 'slope' is provided by acme-a 1.0 (acme_a:Slope) and acme-b 1.0 "
        "(acme_b:Slope); write 'acme-a::slope' or 'acme-b::slope', or set plugins.prefer: "
        "{loss: {slope: acme-a}}"
    )
    assert found == [message]


def test_file_may_prefer_a_wheel(experiment_file: Path, fake_wheel: Callable[..., Path]) -> None:
    source = "class Slope:\n    def __init__(self, k: float): ...\n"
    for name in ("acme-a", "acme-b"):
        module = name.replace("-", "_")
        groups = {"trainer_core.losses": {"slope": f"{module}:Slope"}}
        fake_wheel(name, groups, {f"{module}.py": source})

    found = problems_of(
        experiment_file,
        "loss={_merge_: replace, _value_: {_type_: slope, k: x}}",
        "plugins.prefer.loss.slope=acme-b",
    )

    assert found == ["loss.k: expected a number, found 'x'"]


def test_disabled_component_is_an_error_when_used(experiment_file: Path) -> None:
    found = problems_of(experiment_file, "plugins.disable=[cb.ema]")

    message = (
        "callbacks.0._type_: cb 'ema' of trainer-core 0.1.0 is switched off: "
        "plugins.disable of the file"
    )
    assert found == [message]


def test_import_path_is_refused_outside_models(experiment_file: Path) -> None:
    found = problems_of(experiment_file, "loss={_merge_: replace, _value_: {_target_: os.system}}")

    assert found == [
        "loss._target_: only a model may name an import path; here '_type_' names a component"
    ]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("settings.strict=no", "settings.strict: expected true or false, found 'no'"),
        ("schema_version=2", "schema_version: this release reads schema_version 1, found 2"),
        ("model.init={a: b}", "model.init: expected true or false or a string, found a mapping"),
    ],
)
def test_wrong_value_is_one_problem(override: str, expected: str, experiment_file: Path) -> None:
    assert problems_of(experiment_file, override) == [expected]


def test_parameter_left_over_is_one_problem(experiment_file: Path) -> None:
    message = "loss.fn: left over from exp.yaml:28:3, where `_type_` was 'torch'"
    assert problems_of(experiment_file, "loss={_type_: l2}") == [message]


def test_unknown_key_like_no_other_lists_those_there_are(experiment_file: Path) -> None:
    problem = load_experiment(experiment_file, ["plugins.x=1"], strict=False).problems[0]
    assert (problem.message, problem.expected) == ("unknown key 'x'", "one of disable, prefer")


def test_schedule_takes_the_length_of_the_run(experiment_file: Path) -> None:
    schedule = "scheduler={_merge_: replace, _type_: sched_cls.CosineAnnealingLR}"
    assert load_experiment(experiment_file, [schedule], strict=False).problems == []
    missing = "scheduler={_merge_: replace, _type_: sched_cls.StepLR}"
    problems = load_experiment(experiment_file, [missing], strict=False).problems
    assert [problem.message for problem in problems] == ["sched_cls.StepLR needs 'step_size' (int)"]
