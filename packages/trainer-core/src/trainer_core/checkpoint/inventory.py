"""The checkpoints of a run, as they lie on the disk; nothing here needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from trainer_core.checkpoint.layout import MANIFEST, list_steps, read_manifest, verify_files
from trainer_core.checkpoint.ranking import read_best, read_metrics
from trainer_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Entry", "checkpoint_folders", "content_bytes", "describe_checkpoint", "problem_of"]


class Entry(NamedTuple):
    """One checkpoint.

    Attributes:
        step: Optimizer steps done.
        path: Its folder.
        created: When it was written, ISO 8601 in UTC; empty if the manifest cannot be read.
        bytes: Size of all its files.
        world_size: Processes of the run.
        metrics: What was logged and measured of its weights.
        is_best: Whether BEST names it.
        problem: What is wrong with it as far as can be seen without reading its files.
    """

    step: int
    path: str
    created: str
    bytes: int
    world_size: int | None
    metrics: dict[str, float]
    is_best: bool
    problem: str


def checkpoint_folders(path: Path) -> list[Path]:
    """Return the checkpoints that a path means, the newest first: of a run, or it itself.

    Raises:
        CheckpointError: It is neither.
    """
    if (path / MANIFEST).exists():
        return [path]
    for root in (path / "checkpoints", path):
        folders = [folder for _, folder in list_steps(root)]
        if folders:
            return folders
    msg = f"{path} is neither a run with checkpoints nor a checkpoint"
    raise CheckpointError(msg)


def describe_checkpoint(folder: Path) -> Entry:
    """Return what can be said about a checkpoint without reading its tensors."""
    root = folder.parent
    step = next((step for step, path in list_steps(root) if path == folder), -1)
    manifest: dict[str, Any] = {}
    try:
        manifest = read_manifest(folder)
        verify_files(folder, manifest, is_full=False)
        problem = ""
    except CheckpointError as exc:
        problem = str(exc)
    best = read_best(root)
    return Entry(
        step=int(manifest.get("step", step)),
        path=str(folder),
        created=str(manifest.get("created", "")),
        bytes=content_bytes(manifest),
        world_size=manifest.get("world_size"),
        metrics=read_metrics(root, step),
        is_best=best is not None and best[0] == step,
        problem=problem,
    )


def content_bytes(manifest: dict[str, Any]) -> int:
    """Return the size of all files that a manifest lists."""
    entries = manifest.get("files", {}).values()
    return sum(size for entry in entries if isinstance(size := entry.get("bytes"), int))


def problem_of(folder: Path, progress: Callable[[int], object] = lambda _bytes: None) -> str:
    """Read a whole checkpoint; return what is wrong with it, nothing if it is as it was written."""
    try:
        verify_files(folder, read_manifest(folder), progress=progress)
    except CheckpointError as exc:
        return str(exc)
    return ""
