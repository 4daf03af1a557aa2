"""A CONFIG of the command line, resolved to be looked at: its mistakes are for `check`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from policy_constructor.config import resolve_config
from policy_constructor.errors import render_problem
from trainer_core.discovery.plugins import discover
from trainer_core.discovery.recipes import find_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_constructor.config import ResolvedConfig
    from policy_constructor.errors import Problem
    from trainer_core.discovery.plugins import Plugins

__all__ = ["problems_of", "resolve_for_reading"]


def resolve_for_reading(config: str, overrides: Sequence[str]) -> tuple[ResolvedConfig, Plugins]:
    """Resolve a file or recipe, print what is wrong with its language, and go on with the rest.

    Raises:
        ConfigError: There is no such file and no such recipe.
    """
    plugins = discover()
    path = find_config(config, plugins)
    resolved = resolve_config(
        path,
        overrides,
        find_recipe=plugins.find_recipe,
        recipe_names=plugins.recipe_names,
        strict=False,
    )
    for problem in problems_of(resolved):
        print(render_problem(problem), file=sys.stderr)
    return resolved, plugins


def problems_of(resolved: ResolvedConfig) -> list[Problem]:
    """Return the mistakes of the language; which keys are left over, `trainer check` knows."""
    return [problem for problem in resolved.problems if problem.code != "left-over"]
