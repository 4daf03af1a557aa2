"""What lies near a folder or file that is not there: one line for whoever misspelt it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from policy_constructor.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["missing_data", "missing_data_hint"]

_MOST_SHOWN = 6


def missing_data(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return what is there instead of a missing path, and the nearest right spellings.

    Args:
        path: A folder or file that does not exist.
    """
    folder, lost = _deepest(path)
    names = _names(folder)
    near = tuple(str(folder / name) for name in nearest(lost, names))
    if near:
        return "", near
    shown = ", ".join(names[:_MOST_SHOWN]) + (", ..." if len(names) > _MOST_SHOWN else "")
    where = "this folder" if folder == Path() else f"'{folder}'"
    return f"; {where} holds {shown or 'nothing'}", ()


def missing_data_hint(path: Path) -> str:
    """Return the same as the end of a sentence; empty for a path that is there."""
    if path.exists():
        return ""
    there, near = missing_data(path)
    return there or did_you_mean(near[:1])


def _deepest(path: Path) -> tuple[Path, str]:
    """Return the last folder of a path that exists, and the name that is not in it."""
    for child, parent in pairwise((path, *path.parents)):
        if _is_folder(parent):
            return parent, child.name
    return Path(), path.name


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a folder that may not be entered
        return False


def _names(folder: Path) -> list[str]:
    """Return what a folder shows: not what is hidden."""
    try:
        entries: Iterable[Path] = list(folder.iterdir())
    except OSError:
        return []
    return sorted(entry.name for entry in entries if not entry.name.startswith("."))
