"""Every component of a file against its own signature, read from source: nothing is imported."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from policy_constructor.config.node import Node, dotted
from policy_constructor.discovery.breakage import find_breakage
from policy_constructor.discovery.registry import RegistryError
from policy_constructor.signatures.signature import check_arguments, read_signature
from policy_constructor.source.static import class_attribute, find_attribute
from policy_constructor.spelling import nearest
from trainer_core.discovery.names import POSITIONS, an, noun
from trainer_core.experiment.component_keys import check_component_keys, unused_optimizers
from trainer_core.experiment.plugin_choices import find_idle_choices
from trainer_core.experiment.schema import (
    NO_INITIALIZER,
    DataSection,
    EvaluationSection,
    OptimizerSection,
    TrainerSection,
)
from trainer_core.experiment.wording import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from policy_constructor.config import ResolvedConfig
    from policy_constructor.config.node import Path
    from policy_constructor.discovery.component import ComponentRef
    from policy_constructor.errors import Problem
    from policy_constructor.signatures.parameters import Signature
    from trainer_core.discovery.plugins import Plugins

__all__ = ["ENGINE_KEYS", "SUPPLIED", "WRAPPED", "ComponentCheck"]

ENGINE_KEYS: dict[str, frozenset[str]] = {
    "trainer": TrainerSection.engine_keys(),
    "data": DataSection.engine_keys(),
    "evaluation": EvaluationSection.engine_keys(),
    "optimizer": OptimizerSection.engine_keys(),
}
"""Keys of a section that the engine reads; the others are the component's parameters."""

SUPPLIED: dict[str, frozenset[str]] = {
    "trainer": frozenset({"models", "optimizers", "loss", "device", "io"}),
    "optim_cls": frozenset({"params"}),
    "sched_cls": frozenset({"optimizer"}),
}
"""Arguments that the engine gives to the components of a kind; a file may not set them."""

WRAPPED = {"optim_factory.torch": "optim_cls", "sched_factory.torch": "sched_cls"}
"""The kind of class that a factory such as `optim_factory.torch` is told to build, by its id."""

_NO_KEYS: frozenset[str] = frozenset()
_RUN_LENGTHS = frozenset({"T_max", "total_steps"})  # the engine knows them


class ComponentCheck:
    """Checks the components of one resolved file.

    Args:
        resolved: The resolved file.
        plugins: Where components are found.

    Attributes:
        problems: What was found.
        full_ids: Full id of each component in a position of the schema, by its path.
        unchecked: Warnings: what could not be checked, and what has no effect.
        count: How many components were found, nested ones included.
        respelt: Paths of the keys that misspelt ones beside them are nearest to.
    """

    def __init__(self, resolved: ResolvedConfig, plugins: Plugins) -> None:
        self.resolved = resolved
        self.plugins = plugins
        self.problems: list[Problem] = []
        self.full_ids: dict[Path, str] = {}
        self.unchecked: list[Problem] = []
        self.count = 0
        self.respelt: set[Path] = set()

    def check_all(self) -> None:
        """Check every component that the schema has a place for, and those nested in them."""
        for path, node, kinds, engine_keys in self._positions():
            ref = self._check(path, node, kinds, engine_keys)
            if ref is not None:
                prefix = f"{ref.dist}::" if "::" in node.value["_type_"].value else ""
                self.full_ids[path] = prefix + ref.full_id
        self._check_laid_over()
        paths = component_paths(self.resolved)
        for path in paths:
            self._check_initializer((*path, "init"))
        self.problems += check_component_keys(self.resolved, paths)
        self.unchecked += unused_optimizers(self.resolved, paths)
        self.unchecked += find_idle_choices(self.resolved, self.plugins)

    def _positions(self) -> Iterator[tuple[Path, Node, Sequence[str], frozenset[str]]]:
        for section, kinds in POSITIONS.items():
            node = self.resolved.node(section)
            if node is None:
                continue
            if section in {"callbacks", "loggers", "metrics"}:
                for index, item in node.items() if node.is_list else ():
                    yield (section, index), item, kinds, _NO_KEYS
            else:
                yield (section,), node, kinds, ENGINE_KEYS.get(section, _NO_KEYS)
        for path in component_paths(self.resolved):
            for key in ("optimizer", "scheduler"):
                node = self.resolved.node(*path, key)
                if node is not None:
                    yield (*path, key), node, POSITIONS[key], ENGINE_KEYS.get(key, _NO_KEYS)

    def _check_laid_over(self) -> None:
        """Check the runner's parameters that hold keys to lay over those of another section."""
        for name, section in _literal(self._section_ref("runner"), "laid_over").items():
            node, ref = self.resolved.node("runner", name), self._section_ref(section)
            if node is None or node.poisoned or not node.is_mapping or ref is None:
                continue

            def report(place: Path, message: str, /, **details: Any) -> None:
                if details.get("code") != "missing-key":  # the section itself has the others
                    self._report(place, message, **details)

            check_arguments(
                _file_signature(ref),
                node,
                ("runner", name),
                owner=ref.full_id,
                supplied=SUPPLIED.get(ref.kind, _NO_KEYS),
                skip=ENGINE_KEYS.get(section, _NO_KEYS) | {"_type_"},
                report=report,
            )

    def _section_ref(self, section: str) -> ComponentRef | None:
        name = self.full_ids.get((section,))
        return None if name is None else self.plugins.find(name, POSITIONS[section])

    def _check_initializer(self, place: Path) -> None:
        """Check that `init:` of a component names a function of one weight."""
        node = self.resolved.node(*place)
        if node is None or not isinstance(node.value, str) or node.value == NO_INITIALIZER:
            return  # true, false and null are right, the schema reports all else
        ref = self._find(place, node, ("init",))
        signature = read_signature(ref.target) if ref is not None else None
        if ref is None or signature is None:
            return
        needed = [name for name, parameter in signature.parameters.items() if parameter.required]
        takes_one = bool(signature.parameters) or signature.accepts_any_positional
        if len(needed) > 1 or not takes_one:
            names = ", ".join(signature.parameters)
            message = f"{ref.full_id} is called with a weight alone, it takes ({names})"
            self._report(place, message, code="wrong-type")

    def _check(
        self, path: Path, node: Node, kinds: Sequence[str], engine_keys: frozenset[str]
    ) -> ComponentRef | None:
        """Check one component and what is nested in it; return its reference if it has one."""
        if node.poisoned or not node.is_mapping:
            return None  # null is allowed in some places; the schema reports all other values
        ref = self._referenced(path, node, kinds)
        signature = _file_signature(ref) if ref is not None else None
        if ref is not None:
            self.count += 1
            self._check_wrapped(path, node, ref)
            if signature is None:
                self._note_unchecked(path, ref)
        own_names = tuple(signature.parameters) if signature is not None else ()

        def report(place: Path, message: str, /, **details: Any) -> None:
            if details.get("code") == "unknown-key" and place[:-1] == path and engine_keys:
                near = nearest(str(place[-1]), [*own_names, *engine_keys])
                details["suggestions"] = near
                self.respelt |= {(*path, name) for name in near[:1]}
            if details.get("code") == "unknown-key" and place[:-1] == path:
                others = self._others_with(ref, str(place[-1]))
                details["notes"] = (*_merged_into(node, str(place[-1]), ref), *others)
            self._report(place, message, **details)

        nested = check_arguments(
            signature,
            node,
            path,
            owner=ref.full_id if ref is not None else "",
            supplied=SUPPLIED.get(ref.kind, _NO_KEYS) if ref is not None else _NO_KEYS,
            skip=engine_keys | {"_type_"},
            report=report,
        )
        kinds_of = _nested_kinds(ref)
        for place, inner, _ in nested if ref is not None else ():
            kind = kinds_of.get(place[len(path)])
            self._check(place, inner, () if kind is None else (kind,), _NO_KEYS)
        return ref

    def _others_with(self, ref: ComponentRef | None, key: str) -> tuple[str, ...]:
        """Say which other runners have a key: `--runner` makes another one of a file."""
        if ref is None or ref.kind != "runner":
            return ()
        usable = self.plugins.usable(self.plugins.registries["runner"].refs())
        signatures = [(other.full_id, read_signature(other.target)) for other in usable]
        names = [name for name, found in signatures if found and key in found.parameters]
        return (f"{key!r} is a parameter of {', '.join(sorted(names))}",) if names else ()

    def _referenced(self, path: Path, node: Node, kinds: Sequence[str]) -> ComponentRef | None:
        """Return what a spec's `_type_` means, or None after reporting why it means nothing."""
        type_node = node.value.get("_type_")
        if type_node is not None:
            return self._find((*path, "_type_"), type_node, kinds)
        if "_target_" in node.value:
            message = "only a model may name an import path; here '_type_' names a component"
            self._report((*path, "_target_"), message, on="key", code="target")
        else:
            self._report_missing_type(path, node, kinds)
        return None

    def _find(self, place: Path, name: Node, kinds: Sequence[str]) -> ComponentRef | None:
        if name.poisoned:
            return None
        if not isinstance(name.value, str):
            message = f"expected the name of {_wanted(kinds)}, found {shown(name.value)}"
            self._report(place, message, code="wrong-type")
            return None
        try:
            ref = self.plugins.find(name.value, kinds)
        except RegistryError as error:
            notes = (f"'trainer plugins list --kind {error.kind}' shows what is installed",)
            self._report(
                place,
                error.message,
                code="unknown-component",
                suggestions=error.suggestions,
                notes=notes,
            )
            return None
        broken = find_breakage(ref, noun(ref.kind))
        if broken is not None:
            self._report(place, broken.message, code="broken-component", notes=(broken.cure,))
        return None if broken is not None else ref

    def _report_missing_type(self, path: Path, node: Node, kinds: Sequence[str]) -> None:
        near = nearest("_type_", list(node.value), 1)
        if near:
            self._report(
                (*path, near[0]),
                f"unknown key {near[0]!r}",
                on="key",
                code="unknown-key",
                suggestions=("_type_",),
            )
        else:
            message = f"{dotted(path)} needs '_type_', the name of {_wanted(kinds)}"
            self._report(path, message, code="missing-key")

    def _report(self, path: Path, message: str, /, **details: Any) -> None:
        self.problems.append(self.resolved.problem(path, message, **details))

    def _check_wrapped(self, path: Path, node: Node, ref: ComponentRef) -> None:
        """Check the torch class that a factory such as `optim_factory.torch` is told to build."""
        kind = WRAPPED.get(ref.full_id)
        type_node, given = node.value.get("type"), node.value.get("kwargs")
        if kind is None or type_node is None or not isinstance(type_node.value, str):
            return
        wrapped = self._find((*path, "type"), type_node, (kind,))
        signature = _file_signature(wrapped) if wrapped is not None else None
        if wrapped is None or signature is None:
            return
        has_kwargs = given is not None and given.is_mapping
        check_arguments(
            signature,
            given if given is not None and has_kwargs else Node({}),
            (*path, "kwargs") if has_kwargs else path,
            owner=wrapped.full_id,
            supplied=SUPPLIED[kind],
            skip=_NO_KEYS,
            report=self._report,
        )

    def _note_unchecked(self, path: Path, ref: ComponentRef) -> None:
        message = f"the parameters of {ref.full_id} are not checked: {ref.target} has no source"
        self.unchecked.append(self.resolved.problem(path, message, code="not-checked"))


def _file_signature(ref: ComponentRef) -> Signature | None:
    """Return what a file may and must set of a component; schedules get the run's length."""
    signature = read_signature(ref.target)
    if signature is None or ref.kind != "sched_cls":
        return signature
    parameters = {
        name: replace(parameter, required=False) if name in _RUN_LENGTHS else parameter
        for name, parameter in signature.parameters.items()
    }
    return replace(signature, parameters=parameters)


def _merged_into(node: Node, key: str, ref: ComponentRef | None) -> tuple[str, ...]:
    """Say of a component below an unknown key that it was laid over another one, and how not to."""
    given, type_node = node.value.get(key), node.value.get("_type_")
    top = given.key_mark if given is not None and given.is_mapping else None
    base = type_node.mark if type_node is not None else None
    if ref is None or top is None or base is None or top.source is base.source:
        return ()
    where = base.to_location()
    note = f"it is laid over {ref.full_id} at {where}; `_merge_: replace` beside it replaces that"
    return (note,)


def _wanted(kinds: Sequence[str]) -> str:
    return an(noun(kinds[0])) if kinds else "a component"


def component_paths(resolved: ResolvedConfig) -> list[Path]:
    """Return the paths of the model's components that are mappings: `model`, or below `models`."""
    model, models = resolved.node("model"), resolved.node("models")
    if model is not None:
        return [("model",)] if model.is_mapping else []
    if models is None or not models.is_mapping:
        return []
    return [("models", name) for name, node in models.items() if node.is_mapping]


def _nested_kinds(ref: ComponentRef | None) -> dict[Any, str]:
    """Return what the class states as `nested_kinds`: the kind of components by parameter."""
    return _literal(ref, "nested_kinds")


def _literal(ref: ComponentRef | None, name: str) -> dict[Any, str]:
    """Return a literal mapping that a class states."""
    found = find_attribute(ref.module, ref.attr) if ref is not None else None
    stated = class_attribute(found, name) if found is not None else None
    return (
        dict(ast.literal_eval(stated.node)) if stated and isinstance(stated.node, ast.Dict) else {}
    )
