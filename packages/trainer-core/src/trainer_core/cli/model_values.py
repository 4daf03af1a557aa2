"""The values inside the model files that an experiment names, as parts of the experiment."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, NamedTuple

from policy_constructor.config import Node, history_of
from policy_constructor.config.history import Place
from policy_constructor.config.resolved import walk
from trainer_core.discovery.recipes import recipe_name
from trainer_core.experiment.files import folder_of, is_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy_constructor.config import History, Path, ResolvedConfig
    from trainer_core.discovery.plugins import Plugins
    from trainer_core.experiment.parameters import Slot

__all__ = ["NamedFile", "named_files", "with_lasting_names"]


class NamedFile(NamedTuple):
    """A model file that an experiment names.

    Attributes:
        place: Path of its name in the experiment, `models.backbone.config`: what the values in the
            file have in front of their own paths.
        file: The file, with the parameters that the experiment gives.
        experiment: The experiment.
    """

    place: Path
    file: ResolvedConfig
    experiment: ResolvedConfig

    def history(self, path: Path) -> History | None:
        """Return the history of a value of the file, told from the experiment."""
        found = history_of(self.file, path)
        if found is None:
            return None
        written = {
            _mark(node): Place(where, node) for where, node in walk(self.experiment.root, ())
        }
        inner = tuple(Place((*self.place, *p.path), p.node) for p in found.through)
        return replace(
            found,
            path=(*self.place, *path),
            through=tuple(written.get(_mark(p.node), p) for p in inner),
            users=tuple(Place((*self.place, *p.path), p.node) for p in found.users),
        )

    def slots(self, plugins: Plugins) -> dict[Path, Slot]:
        """Return the parameters of the components in the file."""
        from trainer_core.experiment.parameters import slots_of

        return {
            (*self.place, *path): replace(slot, path=(*self.place, *path))
            for path, slot in slots_of(self.file, plugins).items()
        }


def named_files(resolved: ResolvedConfig, plugins: Plugins) -> Iterator[NamedFile]:
    """Yield the model files of an experiment; those that cannot be read are left out."""
    from trainer_core.experiment.model_files import open_model_file

    for path in _components(resolved):
        opened, _ = open_model_file(resolved, path, plugins)
        if opened is not None:
            yield NamedFile((*path, "config"), opened.file, resolved)


def with_lasting_names(resolved: ResolvedConfig, plugins: Plugins) -> Node:
    """Return the tree with names of model files that mean the same from every folder.

    A file of a recipe folder gets its name there (`il/models/x.yaml`), any other its whole path.
    """
    root = resolved.root
    for path in _components(resolved):
        name = root.child(*path, "config")
        lasting = _lasting_name(name, plugins) if name is not None else None
        if name is not None and lasting is not None:
            root = _exchange(root, (*path, "config"), replace(name, value=lasting))
    return root


def _components(resolved: ResolvedConfig) -> list[Path]:
    models = resolved.node("models")
    names = [name for name, _ in models.items()] if models is not None else []
    paths: list[Path] = [("model",), *(("models", name) for name in names)]
    return [path for path in paths if resolved.node(*path, "config") is not None]


def _lasting_name(name: Node, plugins: Plugins) -> str | None:
    """Return another name of a model file, or None if its own will do."""
    if not isinstance(name.value, str):
        return None
    file = folder_of(name) / name.value
    if not is_file(str(file)):
        return None
    path = FilePath(os.path.abspath(file))  # noqa: PTH100 - links keep the names they have
    return recipe_name(path, plugins.usable(plugins.recipes, "conflict")) or str(path)


def _exchange(node: Node, path: Path, new: Node) -> Node:
    """Return a tree with another node at a path; what lies beside it is shared."""
    if not path:
        return new
    child = node.value[path[0]]
    return replace(node, value={**node.value, path[0]: _exchange(child, path[1:], new)})


def _mark(node: Node) -> tuple[str, int, int] | None:
    mark = node.mark
    return (mark.source.name, mark.line, mark.column) if mark is not None else None
