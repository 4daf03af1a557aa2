"""Files that a configuration names: are they there, and what is spelt like them?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from policy_constructor.config import Node

__all__ = ["exists", "folder_of", "is_file", "near_files"]


def exists(name: str) -> bool:
    """Whether a file or folder is there; `~` is the home folder, any text may be asked for."""
    return _ask(os.path.exists, name)


def is_file(name: str) -> bool:
    """Whether a file is there; as `exists`."""
    return _ask(os.path.isfile, name)


def folder_of(name: Node) -> Path:
    """Return what the name of a file is relative to: the file in which it was written."""
    source = name.mark.source if name.mark is not None else None
    if source is None or source.directory is None or source.name.startswith("<"):
        return Path()
    return Path(source.name).parent


def near_files(name: str, folder: Path | None = None) -> tuple[str, ...]:
    """Return the files beside a missing one that are spelt like it, as its author would write.

    Args:
        name: The missing file, as it was written.
        folder: What `name` is relative to; None is the working folder.
    """
    path = Path(name)
    try:
        beside = os.listdir((folder or Path()) / os.path.expanduser(path.parent))  # noqa: PTH111, PTH208 - takes any text
    except (OSError, ValueError):
        return ()
    return tuple(str(path.parent / other) for other in nearest(path.name, beside))


def _ask(question: Callable[[str], bool], name: str) -> bool:
    try:
        return question(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for a stranger's home
    except ValueError:  # a null byte, before Python 3.12
        return False
