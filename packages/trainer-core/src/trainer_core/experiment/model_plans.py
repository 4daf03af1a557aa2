"""The model's components, compiled to graphs: from files of their own or from the experiment."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from policy_constructor.config import resolve_config
from policy_constructor.config.node import Node, dotted, to_plain
from policy_constructor.graph.compiler import compile_graph
from policy_constructor.spelling import nearest
from trainer_core.experiment.check import component_paths
from trainer_core.experiment.schema import ComponentSection

if TYPE_CHECKING:
    from policy_constructor.config import ResolvedConfig
    from policy_constructor.config.node import Path
    from policy_constructor.errors import Problem
    from policy_constructor.graph.ir import GraphIR
    from trainer_core.discovery.plugins import Plugins

__all__ = ["ModelPlan", "plan_models"]


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
        find_recipe=plugins.find_recipe,
        included_from=config.mark,
        strict=False,
        extra_layer=None if params is None else Node({"params": params}),
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
    """Return a model file's problems; what the experiment set has its path in the experiment."""
    ours = {source.name for source in resolved.sources}
    return [
        replace(problem, path=dotted((*path, problem.path)))
        if problem.location is not None
        and problem.location.file in ours
        and problem.path.startswith("params.")
        else problem
        for problem in file.problems
    ]


def _with_engine_keys(problem: Problem, path: Path) -> Problem:
    """Suggest the engine's keys too for an unknown one that stands beside a block's parameters."""
    prefix = ".".join(map(str, path)) + "."
    key = problem.path.removeprefix(prefix)
    if problem.code != "unknown-key" or not problem.path.startswith(prefix) or "." in key:
        return problem
    near = get_close_matches(key, [*ComponentSection.ENGINE_KEYS, "config"], 1, cutoff=0.75)
    return replace(problem, suggestions=(*near, *problem.suggestions))
