from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainer_core import load_experiment

MESSAGES = [
    (
        ["model.params={width: 3}"],
        ("model.params", "'params' are those of a model file, and there is no 'config'", ()),
    ),
    (
        ["model.weights=firts.safetensors"],
        ("model.weights", "there is no file or folder 'firts.safetensors'", ("first.safetensors",)),
    ),
    (
        ["model.weights='~nobody-of-this-name/x'"],
        ("model.weights", "there is no file or folder '~nobody-of-this-name/x'", ()),
    ),
    (
        ["model.freeze=true"],
        ("model.freeze", "every component is frozen, there is nothing to train", ()),
    ),
]


@pytest.fixture
def near_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("first.safetensors").touch()
    return tmp_path


@pytest.mark.usefixtures("near_weights")
@pytest.mark.parametrize(("overrides", "expected"), MESSAGES)
def test_wrong_key_of_a_component_is_located(
    overrides: list[str], expected: tuple[str, str, tuple[str, ...]], tiny: dict[str, Any]
) -> None:
    found = load_experiment(tiny, overrides, strict=False).problems
    assert [(p.path, p.message, p.suggestions) for p in found] == [expected]


@pytest.mark.parametrize("name", ["a.b", "a b", "", "../a", "1", "кодер"])
def test_name_of_a_component_is_a_plain_word(name: str, tiny: dict[str, Any]) -> None:
    config = tiny | {"models": {name: tiny["model"]}}
    del config["model"]
    found = load_experiment(config, strict=False).problems
    assert [problem.message for problem in found] == [f"{name!r} cannot be the name of a component"]


def test_optimizer_of_a_frozen_component_is_a_warning(tiny: dict[str, Any]) -> None:
    frozen = tiny["model"] | {"freeze": True, "optimizer": {"_type_": "Adam"}}
    config = tiny | {"models": {"a": tiny["model"], "b": frozen}, "trainer": {"max_steps": 1}}
    del config["model"]
    warnings = load_experiment(config, strict=False).warnings
    assert [(w.path, w.message) for w in warnings] == [
        ("models.b.optimizer", "models.b is frozen, its optimizer is not used")
    ]
