"""The JSON Schema of experiment and model files, for exactly what is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from policy_constructor.signatures.parameters import Parameter
from trainer_core.discovery.names import POSITIONS
from trainer_core.experiment.json_components import Catalogue, language_keys
from trainer_core.experiment.json_types import (
    MERGE,
    REFERENCE,
    SPEC,
    any_of,
    list_of,
    mapping_of,
    parameter_schema,
)
from trainer_core.experiment.schema import (
    CompileSection,
    ComponentSection,
    DataSection,
    EvaluationSection,
    ExperimentConfig,
    OptimizerSection,
    ParameterGroup,
    PluginsSection,
    RunSection,
    Settings,
    TrainerSection,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from trainer_core.discovery.plugins import Plugins
    from trainer_core.experiment.json_types import JsonSchema

__all__ = ["build_schema"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MIXED: dict[str, type[BaseModel]] = {
    "trainer": TrainerSection,
    "data": DataSection,
    "evaluation": EvaluationSection,
    "optimizer": OptimizerSection,
}
_PLAIN: dict[str, type[BaseModel]] = {
    "run": RunSection,
    "plugins": PluginsSection,
    "settings": Settings,
}
_LISTS = ("callbacks", "loggers", "metrics")
_HAS_FRONT_END = {"anyOf": [{"required": ["sequential"]}, {"required": ["graph"]}]}
_NAME: JsonSchema = {"type": "string"}
_OPEN: JsonSchema = {"type": "object"}


def build_schema(plugins: Plugins) -> JsonSchema:
    """Return one schema for experiment files, model files and the fragments they include.

    A file that another one completes lacks keys on purpose, so hardly any is required; each value
    may also be a text with `${...}`, and each list or mapping a `_merge_` directive.
    """
    catalogue = Catalogue(plugins)
    return {
        "$schema": _DIALECT,
        "title": "Experiment and model files",
        "type": "object",
        "properties": {**_language_sections(), **_sections(catalogue)},
        "additionalProperties": False,
        "if": {"required": ["run"], "not": {"required": ["defaults"]}},
        "then": _whole_experiment(),
        "$defs": {
            "reference": {
                "type": "string",
                "pattern": r"\$\{",
                "description": "A reference such as ${params.width} or ${env:int:WORKERS,4}.",
            },
            "merge": _merge_directive(),
            "layer": mapping_of({"if": _HAS_FRONT_END, "then": _front_ends(), "else": SPEC}),
            **_model_definitions(),
            **catalogue.definitions,
        },
    }


def _whole_experiment() -> JsonSchema:
    """Return what a file must have that runs and includes no other."""
    names = ("_type_", "_target_", "_template_", "_value_")
    says_type = _has_one_of(names)
    says_model = _has_one_of((*names, "config", "sequential", "graph"))
    sections = {name: says_type for name in POSITIONS if name not in _LISTS}
    return {
        "required": ["data", "trainer"],
        "properties": {
            **sections,
            "model": says_model,
            "models": {"additionalProperties": says_model},
        },
    }


def _has_one_of(keys: Sequence[str]) -> JsonSchema:
    """Return a schema of mappings with one of some keys; what is no mapping passes."""
    choices: list[JsonSchema] = [{"required": [key]} for key in keys]
    return {"anyOf": [*choices, {"not": {"type": "object"}}]}


def _merge_directive() -> JsonSchema:
    modes = language_keys()["_merge_"]
    return {
        "type": "object",
        "description": "How to combine a value with the one underneath.",
        "properties": {"_merge_": modes, "_value_": {}, "key": _NAME},
        "required": ["_merge_", "_value_"],
        "additionalProperties": False,
    }


def _language_sections() -> JsonSchema:
    return {
        "defaults": {
            "description": "Files or recipes that are read first, in this order.",
            "type": "array",
            "items": {"type": "string"},
        },
        "templates": {"description": "Mappings for `_template_`, by name.", **_OPEN},
    }


def _sections(catalogue: Catalogue) -> JsonSchema:
    fields = ExperimentConfig.model_fields
    found: JsonSchema = {}
    for name, info in fields.items():
        is_nullable = not info.is_required() and info.default is None
        if name in _PLAIN:
            schema = _section(_PLAIN[name])
        elif name in _LISTS:
            schema = list_of(catalogue.spec(POSITIONS[name]))
        elif name in POSITIONS:
            engine = _engine_keys(_MIXED[name]) if name in _MIXED else {}
            schema = catalogue.spec(POSITIONS[name], engine, is_nullable=is_nullable)
        elif name == "models":
            schema = {"type": "object", "additionalProperties": _component(catalogue)}
        else:
            schema = _field(info)
        found[name] = {**schema, "description": info.description}
    found["model"] = {**_component(catalogue), "description": "The one model."}
    return found


def _section(model: type[BaseModel]) -> JsonSchema:
    mapping = {
        "type": "object",
        "properties": {**_engine_keys(model), **language_keys()},
        "additionalProperties": False,
    }
    return mapping_of(mapping)


def _engine_keys(model: type[BaseModel]) -> JsonSchema:
    """Return the keys of a section that the engine reads itself."""
    keys = {}
    for name, info in model.model_fields.items():
        if name == "groups":
            keys[name] = {**list_of(_group()), "description": info.description}
        elif name == "compile":
            choices = [{"type": ["boolean", "null"]}, _section(CompileSection), REFERENCE]
            keys[name] = {**any_of(choices), "description": info.description}
        elif name not in {"component", "body"}:
            keys[name] = _field(info)
    return keys


def _group() -> JsonSchema:
    """Return an entry of `optimizer.groups`; what the optimizer knows besides is open."""
    match = _field(ParameterGroup.model_fields["match"])
    return mapping_of({"type": "object", "properties": {"match": match}, "required": ["match"]})


def _field(info: FieldInfo) -> JsonSchema:
    annotation: Any = info.annotation
    for constraint in info.metadata:
        annotation = Annotated[annotation, constraint]
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    return parameter_schema(
        Parameter(
            "",
            annotation=annotation,
            required=info.is_required(),
            default=default,
            doc=info.description or "",
        )
    )


def _component(catalogue: Catalogue) -> JsonSchema:
    """Return `model:` or an entry of `models:`; a block's parameters stand beside its `_type_`."""
    engine = _engine_keys(ComponentSection)
    keys = _engine_keys(OptimizerSection)
    engine["optimizer"] = catalogue.spec(POSITIONS["optimizer"], keys, is_nullable=True)
    engine["scheduler"] = catalogue.spec(POSITIONS["scheduler"], is_nullable=True)
    bodies = {"config": {"type": "string", "description": "A model file."}, **_bodies()}
    spec = catalogue.spec(("block",), {**engine, **bodies})
    of_front_end = {
        "type": "object",
        "properties": {**engine, **bodies, **language_keys()},
        "additionalProperties": False,
    }
    has_body = {"anyOf": [{"required": [name]} for name in bodies]}
    return {"if": has_body, "then": of_front_end, "else": spec}


def _bodies() -> JsonSchema:
    return {
        "sequential": mapping_of({"$ref": "#/$defs/sequential"}),
        "graph": mapping_of({"$ref": "#/$defs/graph"}),
    }


def _front_ends() -> JsonSchema:
    return {
        "type": "object",
        "properties": {**_bodies(), **language_keys()},
        "additionalProperties": False,
    }


def _model_definitions() -> JsonSchema:
    """Return the parts of the model files' grammar."""
    layer = {"$ref": "#/$defs/layer"}
    call = {
        "type": "object",
        "properties": {
            "name": _NAME,
            "call": {"type": "string", "pattern": r"^(module|op):|\$\{"},
            "args": any_of([{"type": "array"}, MERGE, REFERENCE]),
            "kwargs": any_of([_OPEN, REFERENCE]),
            "out": {"type": ["string", "array", "object"]},
            **language_keys(),
        },
        "additionalProperties": False,
    }
    calls = list_of({"$ref": "#/$defs/call"})
    by_name = {"type": "object", "additionalProperties": {"$ref": "#/$defs/call"}}
    common = {
        "inputs": any_of([{"type": "array"}, _OPEN, REFERENCE]),
        "return": {"enum": ["single", "tuple", "dict"]},
        **language_keys(),
    }
    graph = {
        "modules": any_of([{"type": "object", "additionalProperties": layer}, {"type": "null"}]),
        "nodes": any_of([calls, by_name]),
        "order": list_of(_NAME),
        "steps": calls,
        "outputs": any_of([{"type": "array"}, _OPEN, REFERENCE]),
    }
    return {
        "call": call,
        "sequential": {
            "type": "object",
            "properties": {**common, "layers": list_of(layer)},
            "additionalProperties": False,
        },
        "graph": {
            "type": "object",
            "properties": {**common, **graph},
            "additionalProperties": False,
        },
    }
