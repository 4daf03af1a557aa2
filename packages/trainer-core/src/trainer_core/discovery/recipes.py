"""Recipes: experiment files that installed wheels bring, named `<entry point>/<file>`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from policy_constructor.discovery.metadata import normalize_name
from policy_constructor.errors import ConfigError, Problem
from policy_constructor.source.static import locate
from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policy_constructor.discovery.component import ComponentRef
    from trainer_core.discovery.plugins import Plugins

__all__ = ["Recipe", "find_config", "find_recipe", "list_recipes", "recipe_name", "recipes_ending"]

SUFFIXES = (".yaml", ".yml")


class Recipe(NamedTuple):
    """An experiment file that a wheel brings.

    Attributes:
        name: What the command line and `defaults:` call it.
        path: The file.
        dist: The wheel.
        version: Its version.
        description: First comment line of the file.
    """

    name: str
    path: Path
    dist: str
    version: str
    description: str


def find_recipe(name: str, folders: Iterable[ComponentRef]) -> Path | None:
    """Return the file of a recipe, or None if there is none of that name.

    Args:
        name: `il/pick_place`, or `experiments-il::il/pick_place`.
        folders: The installed recipe folders.

    Raises:
        ConfigError: Two wheels have recipes of the name.
    """
    wheel, _, bare = name.rpartition("::")
    prefix, _, rest = bare.partition("/")
    parts = rest.split("/")
    if not rest or any(part in {"", ".", ".."} for part in parts):
        return None
    claims = [ref for ref in folders if ref.key == prefix]
    claims = [ref for ref in claims if not wheel or ref.dist == normalize_name(wheel)]
    if len({ref.dist for ref in claims}) > 1:
        raise ConfigError(Problem(_conflict(bare, prefix, claims), code="conflict"))
    for ref in claims:
        folder = _folder(ref)
        if folder is None:
            continue
        path = folder.joinpath(*parts)
        candidates = [path] if path.suffix in SUFFIXES else [Path(f"{path}{s}") for s in SUFFIXES]
        for candidate in candidates:
            if os.path.isfile(candidate):  # noqa: PTH113 - as below
                return candidate
    return None


def list_recipes(folders: Iterable[ComponentRef]) -> list[Recipe]:
    """Return the experiment files directly in the recipe folders, sorted by name.

    Where two wheels bring a folder of one name, their recipes are listed as `wheel::name`.
    """
    refs = list(folders)
    found = []
    for ref in refs:
        folder = _folder(ref)
        rivals = any(other.key == ref.key and other.dist != ref.dist for other in refs)
        prefix = f"{ref.dist}::{ref.key}" if rivals else ref.key
        if folder is not None and folder.is_dir():
            found += [
                Recipe(f"{prefix}/{file.stem}", file, ref.dist, ref.version, _description(file))
                for file in folder.iterdir()
                if file.suffix in SUFFIXES
            ]
    return sorted(found)


def recipes_ending(name: str, folders: Iterable[ComponentRef]) -> tuple[str, ...]:
    """Return the names of recipes and their parts whose files end in a relative name, sorted.

    A file copied out of a wheel names its parts as they lie there: `models/state_encoder.yaml` is
    `il/models/state_encoder` from anywhere else.
    """
    parts = Path(name).parts
    if not parts or ".." in parts or Path(name).is_absolute():
        return ()
    refs, found = list(folders), []
    for ref in refs:
        folder = _folder(ref)
        files = folder.rglob("*.y*ml") if folder is not None and folder.is_dir() else ()
        for file in files:
            relative = file.relative_to(folder or file).with_suffix("")
            ending = relative.parts[-len(parts) :]
            if ending == (*parts[:-1], Path(parts[-1]).stem) and file.suffix in SUFFIXES:
                found.append(recipe_name(file, refs) or "")
    return tuple(sorted(each.removesuffix(Path(each).suffix) for each in found if each))


def recipe_name(file: Path, folders: Iterable[ComponentRef]) -> str | None:
    """Return what `find_recipe` finds a file by, or None if it lies in no recipe folder."""
    refs = list(folders)
    for ref in refs:
        folder = _folder(ref)
        if folder is not None and file.is_relative_to(folder):
            rivals = any(other.key == ref.key and other.dist != ref.dist for other in refs)
            prefix = f"{ref.dist}::{ref.key}" if rivals else ref.key
            return f"{prefix}/{file.relative_to(folder).as_posix()}"
    return None


def _conflict(name: str, prefix: str, claims: list[ComponentRef]) -> str:
    wheels = " and ".join(ref.wheel for ref in claims)
    names = " or ".join(repr(f"{ref.dist}::{name}") for ref in claims)
    return f"recipes {prefix!r} are provided by {wheels}; write {names}"


def _description(file: Path) -> str:
    """Return the first comment line of a file, without its mark."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.lstrip("# ").strip() for line in lines if line.startswith("#")), "")


def find_config(config: str, plugins: Plugins) -> Path:
    """Return the file that the command line's CONFIG means: a path, or a recipe's name.

    Raises:
        ConfigError: There is neither; the message has the nearest names.
    """
    path = Path(config)
    if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a name that is too long
        return path
    recipe = plugins.find_recipe(config)
    if recipe is not None:
        return recipe
    if config and os.path.isdir(path):  # noqa: PTH112 - as above
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
