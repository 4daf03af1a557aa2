"""Recipes: experiment files that installed wheels bring, named `<entry point>/<file>`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from policy_constructor.errors import ConfigError, Problem
from policy_constructor.source.static import locate
from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policy_constructor.discovery.component import ComponentRef
    from trainer_core.discovery.plugins import Plugins

__all__ = ["find_config", "find_recipe", "recipe_names"]

SUFFIXES = (".yaml", ".yml")


def find_recipe(name: str, folders: Iterable[ComponentRef]) -> Path | None:
    """Return the file of a recipe, or None if there is none of that name."""
    prefix, _, rest = name.partition("/")
    parts = rest.split("/")
    if not rest or any(part in {"", ".", ".."} for part in parts):
        return None
    for ref in folders:
        folder = _folder(ref) if ref.key == prefix else None
        if folder is None:
            continue
        path = folder.joinpath(*parts)
        candidates = [path] if path.suffix in SUFFIXES else [Path(f"{path}{s}") for s in SUFFIXES]
        for candidate in candidates:
            if candidate.is_file():
                return candidate
    return None


def recipe_names(folders: Iterable[ComponentRef]) -> list[str]:
    """Return the names of the experiment files directly in the recipe folders, sorted."""
    names = set()
    for ref in folders:
        folder = _folder(ref)
        if folder is not None and folder.is_dir():
            names |= {f"{ref.key}/{p.stem}" for p in folder.iterdir() if p.suffix in SUFFIXES}
    return sorted(names)


def find_config(config: str, plugins: Plugins) -> Path:
    """Return the file that the command line's CONFIG means: a path, or a recipe's name.

    Raises:
        ConfigError: There is neither; the message has the nearest names.
    """
    path = Path(config)
    if path.is_file():
        return path
    recipe = plugins.find_recipe(config)
    if recipe is not None:
        return recipe
    if path.is_dir():
        message = f"{config!r} is a folder, not an experiment file"
    else:
        message = f"there is no file and no recipe {config!r}"
    near = nearest(config, [*plugins.recipe_names(), *_files_nearby(path)])
    known = plugins.recipe_names()
    notes = (f"installed recipes: {', '.join(known)}",) if known and not near else ()
    raise ConfigError(Problem(message, code="missing-file", suggestions=near, notes=notes))


def _files_nearby(path: Path) -> list[str]:
    try:
        names = os.listdir(path.parent)  # noqa: PTH208 - its names are joined as the user wrote them
    except OSError:
        return []
    return [str(path.parent / name) for name in names if name.endswith(SUFFIXES)]


def _folder(ref: ComponentRef) -> Path | None:
    """Return the folder of a package, which need not have an `__init__.py`."""
    found = locate(ref.module)
    if found is not None:
        return Path(found).parent
    parent, _, name = ref.module.rpartition(".")
    above = locate(parent) if parent else None
    return Path(above).parent / name if above is not None else None
