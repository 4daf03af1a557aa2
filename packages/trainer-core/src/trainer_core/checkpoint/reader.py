"""Which checkpoint to go on from: verify, quarantine, open. Never unpickles anything."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from trainer_core.checkpoint.layout import (
    MANIFEST,
    QUARANTINE,
    NewerFormatError,
    list_steps,
    read_manifest,
    step_name,
    verify_files,
)
from trainer_core.checkpoint.ranking import read_best
from trainer_core.errors import CheckpointError
from trainer_core.storage import storage_errors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Checkpoint", "find_checkpoint", "newest_valid", "open_checkpoint", "set_aside"]

_log = logging.getLogger(__name__)


class Checkpoint:
    """A verified checkpoint.

    Args:
        path: Its folder.
        manifest: Its manifest.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest

    @property
    def step(self) -> int:
        """Optimizer steps done when it was saved."""
        return int(self.manifest["step"])

    def has(self, name: str) -> bool:
        """Return whether the manifest lists a file."""
        return name in self.manifest["files"]

    def names(self, prefix: str) -> list[str]:
        """Return the listed files that begin with a prefix."""
        return sorted(name for name in self.manifest["files"] if name.startswith(prefix))

    def read_json(self, name: str) -> Any:
        """Return a JSON file's data.

        Raises:
            CheckpointError: The checkpoint has no such file, or it is not JSON.
        """
        try:
            return json.loads(self._listed(name).read_bytes())
        except (ValueError, RecursionError) as exc:
            msg = f"{self.path / name} is not JSON"
            raise CheckpointError(msg) from exc

    def read_tensors(self, name: str) -> dict[str, Tensor]:
        """Return a safetensors file's tensors, on the CPU.

        Raises:
            CheckpointError: The checkpoint has no such file, or it is not safetensors.
        """
        try:
            return load_file(self._listed(name))
        except (OSError, SafetensorError) as exc:
            msg = f"{self.path / name} cannot be read as safetensors: {exc}"
            raise CheckpointError(msg) from exc

    def _listed(self, name: str) -> Path:
        if not self.has(name):
            msg = f"the checkpoint {self.path} has no {name}"
            raise CheckpointError(msg)
        return self.path / name


def open_checkpoint(folder: Path) -> Checkpoint:
    """Verify a checkpoint's manifest and every file in it.

    Raises:
        CheckpointError: It is not whole, with the file and the reason.
    """
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    return Checkpoint(folder, manifest)


def newest_valid(root: Path, *, quarantine: bool = True) -> Checkpoint | None:
    """Return the newest checkpoint that verifies; move the bad ones before it out of the way.

    Raises:
        NewerFormatError: One was written by a newer version.
    """
    for _, folder in list_steps(root):
        try:
            return open_checkpoint(folder)
        except NewerFormatError:
            raise  # it is whole: neither put away nor passed over
        except CheckpointError as exc:
            if not quarantine:
                continue
            kept = set_aside(root, folder)
            _log.warning("checkpoint not used, moved to %s: %s", kept, exc)
    return None


def find_checkpoint(root: Path, resume: str | int) -> Checkpoint | None:
    """Return the checkpoint that `run.resume` means, verified; None to start from the beginning.

    Args:
        root: `<out_dir>/checkpoints`.
        resume: `none`, `auto` (the newest that verifies), `best` (which the file BEST names), a
            step, or the path of a checkpoint or of a run.

    Raises:
        CheckpointError: A step or path was asked for and is not there or not whole.
    """
    if resume == "none":
        return None
    if resume == "auto":
        return newest_valid(root)
    if resume == "best":
        return open_checkpoint(_best_folder(root))
    if isinstance(resume, int) or resume.isdecimal():
        folder = root / step_name(int(resume))
        if not folder.is_dir():
            steps = [str(step) for step, _ in reversed(list_steps(root))]
            msg = f"there is no checkpoint {folder}; there are steps {', '.join(steps) or '(none)'}"
            raise CheckpointError(msg)
        return open_checkpoint(folder)
    return _open_path(Path(resume).expanduser())


def _best_folder(root: Path) -> Path:
    found = read_best(root)
    if found is None:
        msg = (
            f"there is no best checkpoint in {root}: cb.model_checkpoint names one when it has a "
            "monitor, such as val/loss"
        )
        raise CheckpointError(msg)
    return root / step_name(found[0])


def _open_path(path: Path) -> Checkpoint:
    if (path / MANIFEST).exists():
        return open_checkpoint(path)
    found = newest_valid(path / "checkpoints", quarantine=False)
    if found is None:
        msg = f"{path} is neither a checkpoint nor a run with one that verifies"
        raise CheckpointError(msg)
    return found


def set_aside(root: Path, folder: Path) -> Path:
    """Move a checkpoint that must not be used into `quarantine/`; return where it is.

    Raises:
        StorageError: It cannot be moved.
    """
    target = root / QUARANTINE / folder.name
    with storage_errors(target):
        target.parent.mkdir(exist_ok=True)
        number = 1
        while target.exists() or target.is_symlink():
            number += 1
            target = target.with_name(f"{folder.name}.{number}")
        folder.rename(target)
    return target
