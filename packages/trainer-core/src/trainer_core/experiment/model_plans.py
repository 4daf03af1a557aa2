"""The model's components, compiled to graphs: from files of their own or from the experiment."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from policy_constructor.discovery.errors import RegistryError
from policy_constructor.graph.compiler import compile_graph
from trainer_core.experiment.check import component_paths
from trainer_core.experiment.model_files import compiled, in_experiment, open_model_file
from trainer_core.experiment.schema import ComponentSection

if TYPE_CHECKING:
    from policy_constructor.config import ResolvedConfig
    from policy_constructor.config.node import Node, Path
    from policy_constructor.errors import Problem
    from policy_constructor.graph.ir import GraphIR
    from trainer_core.discovery.plugins import Plugins

__all__ = ["ModelPlan", "plan_models"]

_UNKNOWN_BLOCK = re.compile("unknown block '([^']+)'")


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
        if "config" in node.value:
            plan, found = _planned_file(resolved, path, plugins)
        else:
            plan, found = _planned_section(resolved, path, node, plugins)
        problems += found
        if plan is not None:
            plans[plan.name] = plan
    return plans, problems


def _planned_file(
    resolved: ResolvedConfig, path: Path, plugins: Plugins
) -> tuple[ModelPlan | None, list[Problem]]:
    """Return the plan of a component with a file of its own."""
    opened, problems = open_model_file(resolved, path, plugins)
    if opened is None:
        return None, problems
    ir = compiled(opened, plugins)
    if opened.changed is not None and not opened.alone.problems:
        ir = compiled(opened, plugins, with_params=True)
    file = opened.file
    problems += [_with_hints(problem, plugins) for problem in in_experiment(file, resolved)]
    return _plan(resolved, path, ir, file, ("model",)), problems


def _planned_section(
    resolved: ResolvedConfig, path: Path, node: Node, plugins: Plugins
) -> tuple[ModelPlan | None, list[Problem]]:
    """Return the plan of a component that stands in the experiment itself."""
    bodies = [key for key in ("sequential", "graph", "_type_", "_target_") if key in node.value]
    if len(bodies) != 1:
        return None, []
    before = len(resolved.problems)
    ir = compile_graph(
        resolved,
        section=path,
        blocks=plugins.registries["block"],
        ops=plugins.registries["op"],
        strict=False,
        skip=_not_of_model(node),
        whole_file=False,
    )
    # The experiment's own list holds what resolving it found, and only that.
    found = resolved.problems[before:]
    del resolved.problems[before:]
    plan = _plan(resolved, path, ir, resolved, path)
    return plan, [_with_hints(_with_engine_keys(problem, path), plugins) for problem in found]


def _plan(
    resolved: ResolvedConfig, path: Path, ir: GraphIR | None, file: ResolvedConfig, section: Path
) -> ModelPlan:
    freeze = resolved.node(*path, "freeze")
    is_frozen = freeze is not None and freeze.value is True
    return ModelPlan(str(path[-1]), ir, file, section, trainable=not is_frozen)


def _not_of_model(node: Node) -> frozenset[str]:
    """Return the keys of a section that its compiler passes over; the schema looks at those."""
    front_ends = {"sequential", "graph"} & set(node.value)
    return frozenset(set(node.value) - front_ends) if front_ends else ComponentSection.ENGINE_KEYS


def _with_hints(problem: Problem, plugins: Plugins) -> Problem:
    """Say of an unknown block what it is instead: of another kind, or of a wheel to install.

    The compiler of models stands alone and knows blocks only.
    """
    name = _UNKNOWN_BLOCK.fullmatch(problem.message)
    if problem.code != "unknown-component" or name is None:
        return problem
    try:
        plugins.find(name[1], ("block",))
    except RegistryError as error:
        near = error.suggestions or problem.suggestions
        return replace(problem, message=error.message, suggestions=near)
    return problem


def _with_engine_keys(problem: Problem, path: Path) -> Problem:
    """Suggest the engine's keys too for an unknown one that stands beside a block's parameters."""
    prefix = ".".join(map(str, path)) + "."
    key = problem.path.removeprefix(prefix)
    if problem.code != "unknown-key" or not problem.path.startswith(prefix) or "." in key:
        return problem
    near = get_close_matches(key, [*ComponentSection.ENGINE_KEYS, "config"], 1, cutoff=0.75)
    return replace(problem, suggestions=(*near, *problem.suggestions))
