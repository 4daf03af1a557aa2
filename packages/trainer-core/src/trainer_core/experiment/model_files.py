"""Model files that an experiment names: opened, checked by themselves and with its parameters."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from policy_constructor.config import resolve_config
from policy_constructor.config.merge import is_nothing
from policy_constructor.config.node import Node, dotted, to_plain
from policy_constructor.config.resolved import walk
from policy_constructor.graph.compiler import compile_graph
from policy_constructor.spelling import nearest
from trainer_core.experiment.files import folder_of, is_file, near_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy_constructor.config import ResolvedConfig
    from policy_constructor.config.node import Path
    from policy_constructor.errors import Problem
    from policy_constructor.graph.ir import GraphIR
    from trainer_core.discovery.plugins import Plugins

__all__ = [
    "ModelFile",
    "compiled",
    "explain_missing",
    "explain_override",
    "in_experiment",
    "open_model_file",
]

_MISSING = re.compile(r"there is no file or recipe '(.+)'")
_USED = re.compile(r"used by (\S+) at (.+):(\d+):(\d+)(?: and \d+ more)?")


@dataclass(frozen=True)
class ModelFile:
    """A model file as an experiment uses it.

    Attributes:
        alone: The file by itself; it must be right whatever an experiment changes.
        changed: The file with the experiment's `params`; None where it sets none.
    """

    alone: ResolvedConfig
    changed: ResolvedConfig | None

    @property
    def file(self) -> ResolvedConfig:
        """The file to build from; the one by itself if that has mistakes."""
        return self.alone if self.changed is None or self.alone.problems else self.changed


def open_model_file(
    resolved: ResolvedConfig, path: Path, plugins: Plugins
) -> tuple[ModelFile | None, list[Problem]]:
    """Return the file that a component's `config` names, or why there is none.

    Args:
        resolved: The experiment.
        path: Path of the component in it.
        plugins: Where recipes are found.
    """
    config = resolved.node(*path, "config")
    if config is None or config.poisoned:
        return None, []
    place = (*path, "config")
    if not isinstance(config.value, str):
        message = f"expected the name of a model file, found {json.dumps(to_plain(config))}"
        return None, [resolved.problem(place, message, code="wrong-type")]
    folder = folder_of(config)
    file = folder / config.value
    if not is_file(str(file)) and plugins.find_recipe(config.value) is None:
        names = (*plugins.recipes_ending(config.value), *near_files(config.value, folder))
        message = f"there is no model file {str(file)!r}"
        return None, [resolved.problem(place, message, code="missing-file", suggestions=names)]

    def read(layer: Node | None) -> ResolvedConfig:
        return resolve_config(
            file if is_file(str(file)) else str(config.value),
            find_recipe=plugins.find_recipe,
            recipe_names=plugins.recipe_names,
            included_from=config.mark,
            strict=False,
            extra_layer=None if layer is None else Node({"params": layer}),
        )

    params = resolved.node(*path, "params")
    alone = read(None)
    if params is None or not params.is_mapping:
        return ModelFile(alone, None), []
    left_open = [name for name, node in _params(alone).items() if is_nothing(node)]
    required = {name: params.value[name] for name in left_open if name in params.value}
    if required:
        alone = read(Node(required, params.mark, params.key_mark))
    if alone.problems:
        return ModelFile(alone, None), []
    return ModelFile(alone, read(params)), _unknown_params(resolved, path, alone, params)


def compiled(opened: ModelFile, plugins: Plugins, *, with_params: bool = False) -> GraphIR | None:
    """Compile a model file; its problems are appended to it."""
    file = opened.changed if with_params and opened.changed is not None else opened.alone
    return compile_graph(
        file,
        blocks=plugins.registries["block"],
        ops=plugins.registries["op"],
        strict=False,
        whole_file=True,
    )


def in_experiment(file: ResolvedConfig, resolved: ResolvedConfig) -> list[Problem]:
    """Return a model file's problems; what the experiment wrote has its path there."""
    ours = {source.name for source in resolved.sources}
    places: dict[tuple[str, int, int], Path] = {}
    if any(problem.location and problem.location.file in ours for problem in file.problems):
        for path, node in walk(resolved.root, ()):
            mark = node.mark
            if mark is not None:
                places[mark.source.name, mark.line, mark.column] = path
    found = []
    for problem in file.problems:
        where = problem.location
        written = places.get((where.file, where.line, where.column)) if where else None
        path_there = problem.path if written is None else dotted(written)
        notes = tuple(_with_our_path(note, places) for note in problem.notes)
        found.append(replace(problem, path=path_there, notes=notes))
    return found


def _with_our_path(note: str, places: Mapping[tuple[str, int, int], Path]) -> str:
    """Give a value that the experiment wrote the path that it has there."""
    used = _USED.fullmatch(note)
    path = places.get((used[2], int(used[3]), int(used[4]))) if used else None
    return note if used is None or path is None else note.replace(used[1], dotted(path), 1)


def explain_override(problem: Problem, resolved: ResolvedConfig) -> Problem:
    """Say of an override that leads into a component's file how to change that."""
    keys = problem.path.split(".")
    place = tuple(keys[: 1 + (keys[0] == "models")])
    config = resolved.node(*place, "config") if keys[0] in {"model", "models"} else None
    if problem.code != "override" or config is None or not isinstance(config.value, str):
        return problem
    name = dotted(place)
    note = f"{name} is in the file {config.value}; an experiment changes its params: "
    return replace(problem, notes=(*problem.notes, f"{note}{name}.params.NAME=VALUE"))


def explain_missing(problem: Problem, plugins: Plugins) -> Problem:
    """Suggest for an included file that is not there the recipe that ends in its name."""
    missing = _MISSING.fullmatch(problem.message)
    if problem.code != "missing-file" or missing is None:
        return problem
    found = plugins.recipes_ending(missing[1])
    others = tuple(name for name in problem.suggestions if name not in found)
    return replace(problem, suggestions=(*found, *others))


def _params(file: ResolvedConfig) -> dict[str, Node]:
    params = file.node("params")
    return {str(key): node for key, node in params.items()} if params is not None else {}


def _unknown_params(
    resolved: ResolvedConfig, path: Path, file: ResolvedConfig, params: Node
) -> list[Problem]:
    """Refuse parameters that the model file does not have."""
    own = list(_params(file))
    return [
        resolved.problem(
            (*path, "params", name),
            f"the model file has no parameter {name!r}",
            on="key",
            code="unknown-key",
            suggestions=nearest(str(name), own),
        )
        for name, _ in params.items()
        if name not in own
    ]
