"""Where a key that is in the wrong place belongs."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from trainer_core.experiment.schema import ExperimentConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy_constructor.config.node import Node, Path

__all__ = ["find_homes"]

_MOST = 2  # homes to choose from
_DEEPEST = 3  # optimizer.kwargs.lr
_NEAR_THE_ROOT = 2  # run.max_steps
_SECTIONS = ("run", "data", "trainer")


def find_homes(root: Node, path: Path) -> tuple[str, ...]:
    """Return the dotted keys that a key of the engine's sections may be meant for.

    They are values of that name elsewhere in the file, and keys that another section has. Where
    there are more than a reader can choose from, none is returned.

    Args:
        root: The resolved file.
        path: The misplaced key, at the top level or directly in a section.
    """
    name = str(path[-1])
    if len(path) > _NEAR_THE_ROOT or len(name) == 1:
        return ()  # `x` is a name of everything
    written = _written(root).get(name, set())
    known = {f"{section}.{name}" for section in _SECTIONS if name in _keys(section)}
    homes = sorted((written | known) - {".".join(map(str, path))})
    return tuple(homes) if len(homes) <= _MOST else ()


@lru_cache(maxsize=1)
def _written(root: Node) -> dict[str, set[str]]:
    """Return the dotted keys of a file by their last part, once for all of its mistakes."""
    places: dict[str, set[str]] = {}
    for path in _paths(root, ()):
        places.setdefault(str(path[-1]), set()).add(".".join(map(str, path)))
    return places


def _keys(section: str) -> dict[str, object]:
    annotation = ExperimentConfig.model_fields[section].annotation
    return dict(getattr(annotation, "model_fields", {}))


def _paths(node: Node, path: Path) -> Iterator[Path]:
    if not node.is_mapping or node.poisoned or len(path) == _DEEPEST:
        return
    for key, child in node.items():
        yield (*path, key)
        yield from _paths(child, (*path, key))
