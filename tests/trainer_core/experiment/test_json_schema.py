from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from policy_constructor.config import Source, to_plain
from policy_constructor.config.parse import parse_text
from policy_constructor.config.report import Report
from trainer_core.discovery.plugins import discover
from trainer_core.experiment.json_schema import build_schema
from trainer_core.experiment.schema import ExperimentConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer_core.discovery.plugins import Plugins

ROOT = Path(__file__).parents[3]
EXPERIMENT = ROOT / "tests/trainer_core/data/experiment.yaml"
RECIPES = sorted(ROOT.glob("packages/*/src/*/recipes/**/*.yaml"))
# The keys of this page's examples are made up: it explains the language, not the files.
PAGES = sorted({*ROOT.glob("docs/**/*.md"), ROOT / "README.md"})
PAGES = [page for page in PAGES if page.name != "config-language.md"]
FREE = {("params",), ("models",), ("io", "model_kwargs"), ("io", "targets")}


def read(text: str) -> Any:
    report = Report()
    node = parse_text(text, Source("a file"), report)
    assert node is not None
    assert report.problems == []
    data = to_plain(node)
    return {"model": {"graph": data}} if "inputs" in data else data  # an excerpt of a model


def examples() -> Iterator[Any]:
    """Yield the examples of our files; some are other files, or use a reader's own component."""
    sections = {*ExperimentConfig.model_fields, "model", "defaults", "inputs"}
    plugins = discover()
    for page in PAGES:
        blocks = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        for number, block in enumerate(blocks):
            names = re.findall(r"_type_: *([\w.]+)", block)
            is_installed = all(is_known(name, plugins) for name in names)
            if is_installed and sections & read(block).keys():
                yield pytest.param(block, id=f"{page.name}-{number}")


def is_known(name: str, plugins: Plugins) -> bool:
    kind, _, key = name.partition(".")
    registry = plugins.registries.get(kind)
    kinds = plugins.registries.values()
    return (registry is not None and key in registry) or any(name in known for known in kinds)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return build_schema(discover())


@pytest.fixture(scope="module")
def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema)


def mistake(validator: Draft202012Validator, data: Any) -> str:
    found = best_match(validator.iter_errors(data))
    return "" if found is None else found.message


def test_schema_is_a_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("file", [*RECIPES, EXPERIMENT], ids=lambda file: file.stem)
def test_recipe_validates(file: Path, validator: Draft202012Validator) -> None:
    assert mistake(validator, read(file.read_text())) == ""


def test_docs_have_examples_of_our_files() -> None:
    assert len(list(examples())) >= 4


@pytest.mark.parametrize("text", list(examples()))
def test_example_of_the_docs_validates(text: str, validator: Draft202012Validator) -> None:
    assert mistake(validator, read(text)) == ""


def keys_of(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(data, dict):
        for key, value in data.items():
            if path not in FREE and path[2:] != ("params",):
                yield (*path, key)
            yield from keys_of(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from keys_of(value, (*path, index))


@pytest.mark.parametrize("path", list(keys_of(read(EXPERIMENT.read_text()))), ids=str)
def test_misspelt_key_is_refused(path: tuple[Any, ...], validator: Draft202012Validator) -> None:
    data = copy.deepcopy(read(EXPERIMENT.read_text()))
    owner = data
    for key in path[:-1]:
        owner = owner[key]
    owner[f"{path[-1]}x"] = owner.pop(path[-1])
    assert mistake(validator, data) != ""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"trainer": {"_type_": "default", "max_stepz": 3}},
            "Unevaluated properties are not allowed ('max_stepz' was unexpected)",
        ),
        ({"run": {"seed": -1}, "defaults": []}, "-1 is less than the minimum of 0"),
        ({"defaults": ["a.yaml"], "trainer": {"max_stepz": 3}}, "'max_stepz' is not one of ["),
        ({"defaults": ["a.yaml"], "data": {"batch_size": -3}}, "-3 is less than the minimum of 1"),
        ({"runn": {}}, "Additional properties are not allowed ('runn' was unexpected)"),
        (
            {"model": {"sequential": {"layrs": []}}},
            "Additional properties are not allowed ('layrs' was unexpected)",
        ),
        (
            {"optimizer": {"_type_": "torch", "type": "AdamW", "kwargs": {"lrr": 1}}},
            "Unevaluated properties are not allowed ('kwargs', 'type' were unexpected)",
        ),
        ({"run": {"name": "a", "out_dir": "b"}, "data": {"_type_": "lerobot"}}, "'trainer' is a"),
    ],
)
def test_mistake_is_named(
    data: dict[str, Any], message: str, validator: Draft202012Validator
) -> None:
    assert mistake(validator, data).startswith(message)


@pytest.mark.parametrize(
    "data",
    [
        {"defaults": ["il/pick_place"], "trainer": {"max_steps": 3}},
        {"defaults": ["il/pick_place"], "trainer": {"solver": "heun"}, "data": {"episodes": 5}},
        {"trainer": "${params.trainer}"},
        {"trainer": {"_type_": "default", "max_steps": "${params.steps}"}},
        {"callbacks": {"_merge_": "append", "_value_": [{"_type_": "cb.ema"}]}},
        {"data": {"_merge_": "replace", "_value_": {"_type_": "random_regression"}}},
        {"loss": {"_template_": "l2", "_type_": "torch"}},
        {"loss": {"_type_": "experiments-il::l2"}},
        {"model": {"sequential": {"layers": ["${params.layer}", {"sequential": {"layers": []}}]}}},
        {"scheduler": None, "evaluation": None},
    ],
    ids=str,
)
def test_language_is_allowed_everywhere(
    data: dict[str, Any], validator: Draft202012Validator
) -> None:
    assert mistake(validator, data) == ""


def test_component_has_its_docs_and_defaults(schema: dict[str, Any]) -> None:
    definition = schema["$defs"]["cb.ema"]
    assert definition["title"].startswith("cb.ema (trainer-core ")
    assert definition["description"]
    assert definition["properties"]["decay"]["default"] == 0.9999
    assert "models" not in schema["$defs"]["trainer.default"]["properties"]
