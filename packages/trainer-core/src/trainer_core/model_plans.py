"""The model's components, compiled to graphs: from files of their own or from the experiment."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from policy_constructor.compiler import compile_graph
from policy_constructor.config import resolve_config
from policy_constructor.config.node import to_plain
from policy_constructor.spelling import nearest
from trainer_core.check import component_paths
from trainer_core.schema import ComponentSection

if TYPE_CHECKING:
    from policy_constructor.config import ResolvedConfig
    from policy_constructor.config.node import Node, Path
    from policy_constructor.errors import Problem
    from policy_constructor.ir import GraphIR
    from trainer_core.plugins import Plugins

__all__ = ["ModelPlan", "plan_models"]

_REFERENCE = re.compile(r"\$+\{")


@dataclass(frozen=True)
class ModelPlan:
    """A component of the model, compiled and not yet built.

    Attributes:
        name: Its name in `models`.
        ir: The compiled graph; None if it has mistakes.
        resolved: The file that holds the section: a model file, or the experiment.
        section: Path of the section in that file.
        trainable: False for a frozen component.
    """

    name: str
    ir: GraphIR | None
    resolved: ResolvedConfig
    section: Path
    trainable: bool = True

    @property
    def graph(self) -> GraphIR:
        """The compiled graph of a component without mistakes."""
        if self.ir is None:
            msg = f"the component {self.name!r} has mistakes and was not compiled"
            raise ValueError(msg)
        return self.ir


def plan_models(
    resolved: ResolvedConfig, plugins: Plugins
) -> tuple[dict[str, ModelPlan], list[Problem]]:
    """Return the compiled components by name, and what is wrong with them."""
    plans: dict[str, ModelPlan] = {}
    problems: list[Problem] = []
    for path in component_paths(resolved):
        node = resolved.node(*path)
        if node is None or node.poisoned:
            continue
        file, section, found = _model_file(resolved, path, node, plugins)
        problems += found
        if file is None:
            continue
        before = len(file.problems)
        ir = compile_graph(
            file,
            section=section,
            blocks=plugins.registries["block"],
            ops=plugins.registries["op"],
            strict=False,
            skip=_not_of_model(node) if file is resolved else frozenset(),
            whole_file=file is not resolved,
        )
        if file is resolved:
            # The experiment's own list holds what resolving it found, and only that.
            of_section = file.problems[before:]
            del file.problems[before:]
            problems += [_with_engine_keys(problem, path) for problem in of_section]
        else:
            problems += _in_experiment(file, resolved, path)
        freeze = resolved.node(*path, "freeze")
        is_frozen = freeze is not None and freeze.value is True
        name = str(path[-1])
        plans[name] = ModelPlan(name, ir, file, section, trainable=not is_frozen)
    return plans, problems


def _not_of_model(node: Node) -> frozenset[str]:
    """Return the keys of a section that its compiler passes over; the schema looks at those."""
    front_ends = {"sequential", "graph"} & set(node.value)
    return frozenset(set(node.value) - front_ends) if front_ends else ComponentSection.ENGINE_KEYS


def _model_file(
    resolved: ResolvedConfig, path: Path, node: Node, plugins: Plugins
) -> tuple[ResolvedConfig | None, Path, list[Problem]]:
    """Return the file with a component's section, the section, and why there is none."""
    config = node.child("config")
    if config is None:
        bodies = [key for key in ("sequential", "graph", "_type_", "_target_") if key in node.value]
        return (resolved if len(bodies) == 1 else None), path, []
    if config.poisoned or not isinstance(config.value, str):
        if config.poisoned:
            return None, (), []
        message = f"expected the name of a model file, found {json.dumps(to_plain(config))}"
        return None, (), [resolved.problem((*path, "config"), message, code="wrong-type")]
    file = _beside(config)
    if not file.is_file() and plugins.find_recipe(config.value) is None:
        near = nearest(file.name, _neighbours(file))
        return (
            None,
            (),
            [
                resolved.problem(
                    (*path, "config"),
                    f"there is no model file {str(file)!r}",
                    code="missing-file",
                    suggestions=tuple(str(FilePath(config.value).parent / name) for name in near),
                )
            ],
        )
    params = resolved.node(*path, "params")
    found = resolve_config(
        file if file.is_file() else config.value,
        _params_overrides(params),
        find_recipe=plugins.find_recipe,
        included_from=config.mark,
        strict=False,
    )
    return found, ("model",), _unknown_params(resolved, path, found, params)


def _beside(config: Node) -> FilePath:
    """Return a model file's path: relative to the file that names it."""
    name = str(config.value)
    source = config.mark.source if config.mark is not None else None
    if source is None or source.directory is None or source.name.startswith("<"):
        return FilePath(name)
    return FilePath(source.name).parent / name


def _neighbours(file: FilePath) -> list[str]:
    try:
        return [entry.name for entry in file.parent.iterdir()]
    except OSError:
        return []


def _params_overrides(params: Node | None) -> list[str]:
    """Return the component's `params` as one more layer over the model file's."""
    if params is None or not params.is_mapping:
        return []
    return [
        f'params."{key}"={json.dumps(_escaped(to_plain(value)))}' for key, value in params.items()
    ]


def _escaped(value: Any) -> Any:
    """Return plain data in which no text is read as a `${reference}` again."""
    if isinstance(value, str):
        return _REFERENCE.sub(lambda found: f"${found.group()}", value)
    if isinstance(value, dict):
        return {key: _escaped(child) for key, child in value.items()}
    return [_escaped(child) for child in value] if isinstance(value, list) else value


def _unknown_params(
    resolved: ResolvedConfig, path: Path, file: ResolvedConfig, params: Node | None
) -> list[Problem]:
    """Refuse parameters that the model file does not have."""
    if params is None or not params.is_mapping:
        return []
    own = [
        str(name)
        for name, node in _items(file.node("params"))
        if name not in params.value or node.replaced
    ]
    return [
        resolved.problem(
            (*path, "params", name),
            f"the model file has no parameter {name!r}",
            on="key",
            code="unknown-key",
            suggestions=nearest(str(name), own),
        )
        for name, _ in params.items()
        if name not in own and not file.problems
    ]


def _items(node: Node | None) -> list[tuple[Any, Node]]:
    return list(node.items()) if node is not None else []


def _in_experiment(file: ResolvedConfig, resolved: ResolvedConfig, path: Path) -> list[Problem]:
    """Return a model file's problems; those of its `params` are placed in the experiment."""
    names = [str(name) for name, _ in _items(resolved.node(*path, "params"))]
    moved = []
    for problem in file.problems:
        place = problem.location
        if place is None or place.file != "<cli>" or place.line > len(names):
            moved.append(problem)
            continue
        where = resolved.problem((*path, "params", names[place.line - 1]), problem.message)
        moved.append(replace(problem, path=where.path, location=where.location))
    return moved


def _with_engine_keys(problem: Problem, path: Path) -> Problem:
    """Suggest the engine's keys too for an unknown one that stands beside a block's parameters."""
    prefix = ".".join(map(str, path)) + "."
    key = problem.path.removeprefix(prefix)
    if problem.code != "unknown-key" or not problem.path.startswith(prefix) or "." in key:
        return problem
    near = get_close_matches(key, [*ComponentSection.ENGINE_KEYS, "config"], 1, cutoff=0.75)
    return replace(problem, suggestions=(*near, *problem.suggestions))
