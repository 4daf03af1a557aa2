"""Copies of checkpoints in a folder or URL that fsspec knows, whole or not there.

<storage>/
  checkpoints/step-000000120/   the files of the checkpoint; MANIFEST.json comes last, so that a
                                folder without it is a copy that was cut off
  metrics.jsonl ...             the files at the top of the run folder
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import fsspec

from trainer_core.checkpoint.layout import (
    MANIFEST,
    read_manifest,
    require_safe_names,
    step_name,
    step_of,
    verify_files,
)
from trainer_core.checkpoint.reader import set_aside
from trainer_core.checkpoint.writer import abandon_checkpoint, begin_checkpoint
from trainer_core.errors import CheckpointError, MissingPackageError, StorageError, UserError
from trainer_core.storage import flush_to_disk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["CheckpointMirror"]

_log = logging.getLogger(__name__)

_CHUNK = 8 * 1024 * 1024
_MOST_FILE_BYTES = 256 * 1024 * 1024
_OBJECT_STORES = ("abfs", "abfss", "az", "gcs", "gs", "oci", "oss", "s3", "s3a")


class CheckpointMirror:
    """The copies of one run.

    Args:
        url: Where they are.

    Raises:
        UserError: fsspec knows no such URL.
        MissingPackageError: It does, and needs another package for it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
            self._scheme = url.partition("://")[0]
        except ImportError as error:
            scheme = url.partition("://")[0]
            need = f"runner ray: storage: {url!r}"
            raise MissingPackageError(need, f"fsspec[{scheme}]") from error
        except ValueError as error:
            msg = f"runner ray: storage: {url!r} is no folder and no URL that fsspec knows: {error}"
            raise UserError(msg) from error

    def steps(self) -> list[int]:
        """Return the steps of the copies that have a manifest, newest first.

        Raises:
            StorageError: The storage does not answer.
        """
        with self._errors("read"):
            folder = f"{self._root}/checkpoints"
            if not self._fs.exists(folder):
                return []
            names = [entry.rstrip("/").rpartition("/")[2] for entry in self._fs.ls(folder, False)]
            found = [step for name in names if (step := step_of(name)) is not None]
            return sorted((step for step in found if self._is_whole(step)), reverse=True)

    def require_writable(self) -> None:
        """Write something and delete it: before a run, not after its first checkpoint.

        Raises:
            StorageError: The storage does not exist, or refuses.
        """
        probe = f"{self._root}/.trainer-{uuid.uuid4().hex}"
        with self._errors("write"):
            self._make_folder(self._root)
            self._fs.pipe_file(probe, b"")
            self._fs.rm_file(probe)

    def upload(self, folder: Path) -> None:
        """Copy a committed checkpoint; one that is there already is left as it is.

        The files are opened first: they may be deleted from the run folder in the meantime.

        Raises:
            CheckpointError: The checkpoint is damaged, or gone before it was opened.
            StorageError: The storage does not take it; what was sent does not count as a copy.
        """
        manifest = read_manifest(folder)
        if self._is_there(int(manifest["step"])):
            return
        target = self._folder(int(manifest["step"]))
        with ExitStack() as stack, self._errors("write"):
            try:
                names = [*manifest["files"], MANIFEST]
                opened = {n: stack.enter_context((folder / n).open("rb")) for n in names}
            except FileNotFoundError as error:
                msg = f"{folder} was deleted before it was copied"
                raise CheckpointError(msg) from error
            for name, entry in manifest["files"].items():
                if self._send(opened[name], f"{target}/{name}") != entry["sha256"]:
                    msg = f"{folder / name} is corrupt: its sha256 is not the one in its manifest"
                    raise CheckpointError(msg)
            unnamed = f"{target}/.{MANIFEST}.{uuid.uuid4().hex}"
            self._send(opened[MANIFEST], unnamed)
            self._fs.mv(unnamed, f"{target}/{MANIFEST}")

    def fetch(self, step: int, root: Path) -> Path:
        """Copy a checkpoint into a run's `checkpoints` and verify it there.

        Args:
            step: One of `steps`.
            root: `<out_dir>/checkpoints`.

        Returns:
            Its folder; the same checkpoint is left as it is, another one of that step set aside.

        Raises:
            CheckpointError: The copy is damaged.
            StorageError: The storage does not answer, or the disk refuses.
        """
        final = root / step_name(step)
        folder = begin_checkpoint(root, step)
        try:
            with self._errors("read"):
                self._receive(f"{self._folder(step)}/{MANIFEST}", folder / MANIFEST)
                manifest = read_manifest(folder)
                if final.is_dir() and _is_same(final, manifest):
                    return final
                require_safe_names(folder, manifest)
                for name in manifest["files"]:
                    self._receive(f"{self._folder(step)}/{name}", folder / name)
            verify_files(folder, manifest)
            if final.is_dir() and not _is_same(final, manifest):
                _log.warning("checkpoint of another run moved to %s", set_aside(root, final))
            if not final.is_dir():  # another machine with this folder may have been faster
                folder.rename(final)
                flush_to_disk(root)
        finally:
            abandon_checkpoint(folder)
        return final

    def fetch_newest(self, root: Path) -> int | None:
        """Fetch the newest copy that is whole; return its step, or None if there is none.

        Raises:
            StorageError: The storage does not answer, or the disk refuses.
        """
        for step in self.steps():
            try:
                self.fetch(step, root)
            except CheckpointError as error:
                _log.warning("copy of step %d in %s not used: %s", step, self.url, error)
            else:
                return step
        return None

    def delete(self, step: int) -> None:
        """Delete a copy: first its manifest, so that it never counts as whole again.

        Raises:
            StorageError: The storage refuses.
        """
        with self._errors("write"):
            self._fs.rm_file(f"{self._folder(step)}/{MANIFEST}")
            self._fs.rm(self._folder(step), recursive=True)

    def upload_files(self, out_dir: Path) -> None:
        """Copy the files at the top of a run folder, such as `metrics.jsonl`.

        Raises:
            StorageError: The storage does not take them.
        """
        with self._errors("write"):
            for path in sorted(out_dir.glob("[!.]*.*")):
                if path.is_file() and path.stat().st_size < _MOST_FILE_BYTES:
                    self._fs.pipe_file(f"{self._root}/{path.name}", path.read_bytes())

    def fetch_file(self, name: str, out_dir: Path) -> None:
        """Copy one of these files back, if there is one and the run folder has none.

        Raises:
            StorageError: The storage does not answer.
        """
        with self._errors("read"):
            if not (out_dir / name).exists() and self._fs.exists(f"{self._root}/{name}"):
                (out_dir / name).write_bytes(self._fs.cat_file(f"{self._root}/{name}"))

    def _folder(self, step: int) -> str:
        return f"{self._root}/checkpoints/{step_name(step)}"

    def _is_whole(self, step: int) -> bool:
        return bool(self._fs.exists(f"{self._folder(step)}/{MANIFEST}"))

    def _is_there(self, step: int) -> bool:
        with self._errors("read"):
            return self._is_whole(step)

    def _send(self, source: Any, target: str) -> str:
        """Copy a file in parts; return the sha256 of what was sent."""
        digest = hashlib.sha256()
        self._make_folder(target.rpartition("/")[0])
        with self._fs.open(target, "wb") as file:
            while data := source.read(_CHUNK):
                digest.update(data)
                file.write(data)
        return digest.hexdigest()

    def _make_folder(self, folder: str) -> None:
        """Make a folder, where there is such a thing: an object store would make a bucket."""
        if self._scheme not in _OBJECT_STORES:
            self._fs.makedirs(folder, exist_ok=True)

    def _receive(self, source: str, target: Path) -> None:
        target.parent.mkdir(exist_ok=True)
        with self._fs.open(source, "rb") as file, target.open("xb") as copy:
            while data := file.read(_CHUNK):
                copy.write(data)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn whatever the file system of a stranger raises into one error of ours."""
        try:
            self._fs.invalidate_cache()
            yield
        except (CheckpointError, StorageError):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            msg = f"cannot {what} the storage {self.url}: {reason}"
            raise StorageError(msg) from error


def _is_same(folder: Path, manifest: Mapping[str, Any]) -> bool:
    try:
        return read_manifest(folder) == manifest
    except CheckpointError:
        return False
