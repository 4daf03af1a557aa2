"""Installed components -> JSON Schema: their names, and the parameters that each one takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy_constructor.discovery.families import is_member
from policy_constructor.signatures.signature import read_signature
from trainer_core.experiment.check import SUPPLIED, WRAPPED
from trainer_core.experiment.json_types import REFERENCE, mapping_of, parameter_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_constructor.discovery.component import ComponentRef
    from policy_constructor.signatures.parameters import Signature
    from trainer_core.discovery.plugins import Plugins
    from trainer_core.experiment.json_types import JsonSchema

__all__ = ["Catalogue", "language_keys"]

_NESTED = "component"
_NO_TYPE = {"not": {"anyOf": [{"required": [f"_{n}_"]} for n in ("type", "target", "template")]}}
_SPEC_KEY = "^([^_]|_(type|target|template|merge|value|args|kwargs)_$|_[^_]*$)"


def language_keys() -> JsonSchema:
    """Return the keys that every mapping may have, whatever it means."""
    template = {"type": "string", "description": "A name under `templates`."}
    modes = ["replace", "append", "prepend", "keyed"]
    return {"_template_": template, "_merge_": {"enum": modes}}


class Catalogue:
    """The installed components as definitions of a schema.

    Args:
        plugins: What is installed.

    Attributes:
        definitions: The definition of each component by its full id, and of each set of names.
    """

    def __init__(self, plugins: Plugins) -> None:
        self.refs = _usable(plugins)
        self.definitions: dict[str, JsonSchema] = {}
        for ref in self.refs:
            self.definitions[ref.full_id] = self._definition(ref)
        kinds = tuple(dict.fromkeys(ref.kind for ref in self.refs if ref.kind != "op"))
        self.definitions[_NESTED] = self._spec(("block",), kinds, {})

    def spec(
        self,
        kinds: Sequence[str],
        engine: JsonSchema | None = None,
        *,
        is_nullable: bool = False,
    ) -> JsonSchema:
        """Return the schema of a component at a position.

        Args:
            kinds: The kinds that the position takes.
            engine: Keys beside the component's own, by name.
            is_nullable: Whether there may be none.
        """
        schema = self._spec(kinds, kinds, engine or {})
        names = self._all_parameters(kinds)
        if names is not None:
            allowed = [*names, *(engine or {}), *language_keys(), "_args_", "_kwargs_"]
            schema["allOf"].append(
                {"if": _NO_TYPE, "then": {"propertyNames": {"enum": sorted(set(allowed))}}}
            )
        return mapping_of(schema, is_nullable=is_nullable)

    def _all_parameters(self, kinds: Sequence[str]) -> set[str] | None:
        """Return the parameters of all components of some kinds; None where one takes any name."""
        names: set[str] = set()
        for ref in self.refs:
            if ref.kind in kinds:
                definition = self.definitions[ref.full_id]
                if definition.get("additionalProperties"):
                    return None
                names |= set(definition["properties"]) - {"_type_"}
        return names or None

    def _spec(self, bare: Sequence[str], kinds: Sequence[str], engine: JsonSchema) -> JsonSchema:
        """Return the schema of a mapping with `_type_`.

        Without `_type_` the mapping changes a component of another file: which one is not known,
        and `spec` holds its keys against those of all. Nothing is known with `_target_`.
        """
        names: list[str] = []
        cases: list[JsonSchema] = []
        for ref in self.refs:
            if ref.kind in kinds:
                spelled = _spellings(ref, with_bare=ref.kind in bare)
                names += spelled
                cases.append(_when({"_type_": {"enum": spelled}}, ref.full_id))
        wheel = {"type": "string", "pattern": "::"}
        named = {"anyOf": [{"enum": sorted(set(names))}, wheel, REFERENCE]}
        known = {"properties": {"_type_": {"enum": sorted(set(names))}}, "required": ["_type_"]}
        unknown = {"additionalProperties": True, "propertyNames": {"pattern": _SPEC_KEY}}
        return {
            "type": "object",
            "properties": {"_type_": named, **engine, **language_keys()},
            "allOf": [*cases, {"if": known, "else": unknown}],
            "unevaluatedProperties": False,
        }

    def _definition(self, ref: ComponentRef) -> JsonSchema:
        """Return the parameters of one component."""
        signature = read_signature(ref.target)
        properties = _properties(ref, signature)
        schema: JsonSchema = {"title": f"{ref.full_id} ({ref.wheel})"}
        if signature is not None and signature.doc:
            schema["description"] = signature.doc
        schema["properties"] = {
            "_type_": {"type": "string"},
            **properties,
            "_args_": {"type": "array", "description": "Positional arguments."},
            "_kwargs_": {"type": "object", "description": "Further arguments by name."},
        }
        if signature is None or signature.accepts_any_keyword:
            schema["additionalProperties"] = True
        kind = WRAPPED.get(ref.full_id)
        return schema | self._wrapped(kind) if kind is not None else schema

    def _wrapped(self, kind: str) -> JsonSchema:
        """Return what the class that a factory is told to build takes as `kwargs`."""
        cases = []
        for ref in self.refs:
            if ref.kind == kind:
                keys = _properties(ref, read_signature(ref.target)) | language_keys()
                mapping = {"type": "object", "properties": keys, "additionalProperties": False}
                kwargs = mapping_of(mapping)
                is_chosen = {"type": {"enum": _spellings(ref, with_bare=True)}}
                condition = {"properties": is_chosen, "required": ["type"]}
                cases.append({"if": condition, "then": {"properties": {"kwargs": kwargs}}})
        return {"allOf": cases}


def _when(properties: JsonSchema, full_id: str) -> JsonSchema:
    condition = {"properties": properties, "required": list(properties)}
    return {"if": condition, "then": {"$ref": f"#/$defs/{full_id}"}}


def _properties(ref: ComponentRef, signature: Signature | None) -> JsonSchema:
    supplied = SUPPLIED.get(ref.kind, frozenset())
    parameters: dict[str, Any] = dict(signature.parameters) if signature is not None else {}
    return {
        name: parameter_schema(parameter)
        for name, parameter in parameters.items()
        if name not in supplied
    }


def _spellings(ref: ComponentRef, *, with_bare: bool) -> list[str]:
    """Return the ways to write a component's name where its wheel is not."""
    return [ref.key, ref.full_id] if with_bare else [ref.full_id]


def _usable(plugins: Plugins) -> list[ComponentRef]:
    """Return every component that a bare name can mean, members of families included."""
    refs: dict[str, ComponentRef] = {}
    for registry in plugins.registries.values():
        families = [family for family in registry.families if not family.shadowed]
        members = [
            family.to_ref(key)
            for family in families
            for key in registry.known_names()
            if key.startswith(family.prefix) and is_member(family, key)
        ]
        for ref in (*registry.refs(), *members):
            if registry.status(ref) == "ok":
                refs.setdefault(ref.full_id, ref)
    return list(refs.values())
