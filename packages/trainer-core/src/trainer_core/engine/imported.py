"""The components that a file uses, imported: do they exist, and take what their source says?"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from policy_constructor.discovery.registry import RegistryError
from policy_constructor.signatures.signature import read_signature
from policy_constructor.spelling import nearest
from trainer_core.discovery.names import POSITIONS
from trainer_core.experiment.check import ENGINE_KEYS, SUPPLIED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from policy_constructor.config.node import Node, Path
    from policy_constructor.discovery.component import ComponentRef
    from policy_constructor.errors import Problem
    from trainer_core.experiment.loading import LoadedExperiment

__all__ = ["check_imported"]

_SPEC_KEYS = frozenset({"_type_", "_args_", "_kwargs_"})
_LISTS = frozenset({"callbacks", "loggers", "metrics"})


def check_imported(loaded: LoadedExperiment) -> tuple[list[Problem], list[Problem]]:
    """Import every component of a file; return errors and warnings.

    Blocks of the model are left out: they are imported when it is built.
    """
    errors: list[Problem] = []
    warnings: list[Problem] = []
    problem = loaded.resolved.problem
    for path, node, kinds in _specs(loaded):
        name = node.value["_type_"].value
        try:
            ref = loaded.plugins.find(name, kinds)
            target = loaded.plugins.load(ref)
        except RegistryError as error:
            place = (*path, "_type_")
            errors.append(
                problem(place, error.message, code="component", suggestions=error.suggestions)
            )
            continue
        parameters = _live_parameters(target)
        if parameters is None:
            continue
        static = read_signature(ref.target)
        if static is not None and static.model is None and not static.accepts_any_keyword:
            said, found = set(static.parameters), set(parameters)
            if said != found:
                message = (
                    f"{ref.full_id} is not what its source says: it takes "
                    f"({', '.join(parameters)}), its source says ({', '.join(static.parameters)})"
                )
                warnings.append(problem(path, message, code="signature-differs"))
        errors += _misfits(loaded, path, node, ref, parameters)
    return errors, warnings


def _specs(loaded: LoadedExperiment) -> Iterator[tuple[Path, Node, Sequence[str]]]:
    """Yield every component outside the model, nested ones after those that hold them."""
    for section, kinds in POSITIONS.items():
        node = loaded.resolved.node(section)
        for path, spec in _positions(section, node):
            yield from _nested(path, spec, kinds)
    models = loaded.resolved.node("models")
    for name, component in models.items() if models is not None else ():
        for key in ("optimizer", "scheduler"):
            own = component.child(key)
            if own is not None:
                yield from _nested(("models", name, key), own, POSITIONS[key])


def _positions(section: str, node: Node | None) -> Iterator[tuple[Path, Node]]:
    if node is None:
        return
    if section in _LISTS:
        for index, item in node.items():
            yield (section, index), item
    else:
        yield (section,), node


def _nested(
    path: Path, node: Node, kinds: Sequence[str]
) -> Iterator[tuple[Path, Node, Sequence[str]]]:
    if node.is_mapping and "_type_" in node.value:
        yield path, node, kinds
        kinds = ()
    for key, child in node.items():
        yield from _nested((*path, key), child, ())


def _live_parameters(target: Any) -> Mapping[str, inspect.Parameter] | None:
    """Return the named parameters of what was imported; None if it takes any, or does not say."""
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return None
    kinds = {parameter.kind for parameter in parameters.values()}
    if kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}:
        return None
    return parameters


def _misfits(
    loaded: LoadedExperiment,
    path: Path,
    node: Node,
    ref: ComponentRef,
    parameters: Mapping[str, inspect.Parameter],
) -> Iterator[Problem]:
    """Yield the keys that the imported object does not take, and those it needs."""
    if {"_args_", "_kwargs_"} & set(node.value):
        return
    is_position = len(path) == 1 or path[-1] == "optimizer"
    engine = ENGINE_KEYS.get(str(path[-1]), frozenset()) if is_position else frozenset()
    given = [str(key) for key in node.value if key not in engine and key not in _SPEC_KEYS]
    for key in given:
        if key not in parameters:
            yield loaded.resolved.problem(
                (*path, key),
                f"{ref.full_id} has no parameter {key!r}",
                on="key",
                code="unknown-key",
                suggestions=nearest(key, [name for name in parameters if name not in given]),
            )
    for name, parameter in parameters.items():
        is_needed = parameter.default is parameter.empty
        if is_needed and name not in given and name not in SUPPLIED.get(ref.kind, frozenset()):
            yield loaded.resolved.problem(path, f"{ref.full_id} needs {name!r}", code="missing-key")
