from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from trainer_core.experiment import schema

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "experiment-file.md"
SECTIONS: list[type[BaseModel]] = [
    schema.ExperimentConfig,
    schema.RunSection,
    schema.TrainerSection,
    schema.DataSection,
    schema.EvaluationSection,
    schema.ComponentSection,
    schema.PluginsSection,
    schema.Settings,
]
FIELDS = [
    (model.__name__, name)
    for model in SECTIONS
    for name in model.model_fields
    if name not in {"component", "body"}
]


def minimal(**changes: Any) -> dict[str, Any]:
    return {
        "run": {"name": "a", "out_dir": "b"},
        "models": {"model": {"sequential": {}}},
        "data": {"_type_": "data.x", "batch_size": 4},
        "trainer": {"_type_": "trainer.x", "max_steps": 1},
        **changes,
    }


def parse(document: dict[str, Any]) -> schema.ExperimentConfig:
    return schema.ExperimentConfig.model_validate_json(json.dumps(document), strict=True)


@pytest.mark.parametrize(("section", "name"), FIELDS)
def test_reference_lists_every_key(section: str, name: str) -> None:
    assert f"| `{name}` |" in REFERENCE.read_text(), section


@pytest.mark.parametrize("model", SECTIONS)
def test_every_key_is_described(model: type[BaseModel]) -> None:
    assert all(field.description for field in model.model_fields.values())


def test_component_parameters_are_kept_apart_from_engine_keys() -> None:
    config = parse(minimal(trainer={"_type_": "trainer.x", "max_steps": 3, "beta": 0.5}))

    assert config.trainer.max_steps == 3
    assert config.trainer.component == {"_type_": "trainer.x", "beta": 0.5}


def test_parameter_called_component_is_a_parameter() -> None:
    config = parse(minimal(data={"_type_": "data.x", "batch_size": 4, "component": 1}))

    assert config.data.component == {"_type_": "data.x", "component": 1}


def test_block_parameters_of_a_component_are_its_body() -> None:
    config = parse(minimal(models={"a": {"_type_": "mlp", "dims": [1], "freeze": True}}))

    assert config.models["a"].body == {"_type_": "mlp", "dims": [1]}
    assert config.models["a"].freeze


def test_defaults_log_to_terminal_and_file() -> None:
    config = parse(minimal())

    assert [spec["_type_"] for spec in config.loggers] == ["log.stdout", "log.jsonl"]
    assert config.runner == {"_type_": "runner.local"}


@pytest.mark.parametrize("resume", ["auto", "none", 120, "runs/a/checkpoints/step-000000120"])
def test_resume_takes_a_step_or_a_text(resume: str | int) -> None:
    assert parse(minimal(run={"name": "a", "out_dir": "b", "resume": resume})).run.resume == resume


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", ""])
def test_unknown_device_is_refused(device: str) -> None:
    with pytest.raises(ValidationError):
        parse(minimal(run={"name": "a", "out_dir": "b", "device": device}))


def test_sections_are_frozen() -> None:
    config = parse(minimal())

    with pytest.raises(ValidationError, match="frozen"):
        config.run.seed = 3  # type: ignore[misc] # assigning to a frozen field is what is tested


@pytest.mark.parametrize(
    ("init", "name"),
    [(None, None), (False, None), ("none", None), (True, "xavier"), ("kaiming", "kaiming")],
)
def test_init_names_an_initialiser_or_none(init: Any, name: str | None) -> None:
    section = schema.ComponentSection.model_validate({"_type_": "block.mlp", "init": init})
    assert section.initializer == name
