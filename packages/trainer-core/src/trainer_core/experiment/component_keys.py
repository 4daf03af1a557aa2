"""The engine's keys of a component: its name, `weights`, `params`, `freeze`, `optimizer`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from policy_constructor.config.node import dotted
from policy_constructor.spelling import is_slip
from trainer_core.experiment.files import exists, near_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from policy_constructor.config import ResolvedConfig
    from policy_constructor.config.node import Node, Path
    from policy_constructor.errors import Problem

__all__ = ["check_component_keys", "unused_optimizers"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*", re.ASCII)


def check_component_keys(resolved: ResolvedConfig, paths: Sequence[Path]) -> list[Problem]:
    """Return what is wrong with the components besides what they are built from."""
    problems = [problem for path in paths for problem in _of_component(resolved, path)]
    if paths and all(_is_frozen(resolved, path) for path in paths):
        message = "every component is frozen, there is nothing to train"
        problems.append(resolved.problem((*paths[-1], "freeze"), message, code="nothing-trained"))
    return problems


def unused_optimizers(resolved: ResolvedConfig, paths: Sequence[Path]) -> list[Problem]:
    """Return a warning for each optimizer and schedule of a component that is never trained."""
    return [
        resolved.problem(
            (*path, key),
            f"{dotted(path)} is frozen, its {key} is not used",
            on="key",
            code="no-effect",
        )
        for path in paths
        for key in ("optimizer", "scheduler")
        if _is_frozen(resolved, path) and _value(resolved.node(*path, key)) is not None
    ]


def _of_component(resolved: ResolvedConfig, path: Path) -> Iterator[Problem]:
    if not _NAME.fullmatch(str(path[-1])):
        yield resolved.problem(
            path,
            f"{path[-1]!r} cannot be the name of a component",
            on="key",
            code="invalid-name",
            expected="letters, digits, '_' and '-', and no digit first",
        )
    holder = resolved.node(*path)
    is_misspelt = holder is not None and any(is_slip(str(k), "config") for k, _ in holder.items())
    has_file = resolved.node(*path, "config") is not None or is_misspelt
    if not has_file and _value(resolved.node(*path, "params")):
        message = "'params' are those of a model file, and there is no 'config'"
        yield resolved.problem((*path, "params"), message, on="key", code="conflicting-keys")
    weights = _value(resolved.node(*path, "weights"))
    if isinstance(weights, str) and not exists(weights):
        yield resolved.problem(
            (*path, "weights"),
            f"there is no file or folder {weights!r}",
            code="missing-file",
            expected="a safetensors file, a checkpoint or a run folder",
            suggestions=near_files(weights),
        )


def _is_frozen(resolved: ResolvedConfig, path: Path) -> bool:
    return _value(resolved.node(*path, "freeze")) is True


def _value(node: Node | None) -> object:
    return None if node is None or node.poisoned else node.value
