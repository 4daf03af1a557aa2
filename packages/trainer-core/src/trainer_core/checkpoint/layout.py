"""The names of a checkpoint's files, its manifest, and how one is verified.

<out_dir>/checkpoints/
  step-000000120/               immutable once it has this name
    MANIFEST.json               size and sha256 of every other file; written last
    model.<name>.safetensors    one per component, unwrapped names; ema.<name> likewise
    optim.<name>.safetensors    tensors of an optimizer; its numbers are in state.json
    state.json                  step, samples, schedules, ...; no loader or generator state
    norm_stats.json  config.resolved.yaml  plugins.json  environment.json
    plugins/<name>.json         state of callbacks and plugins, with .safetensors for tensors
  .tmp-step-000000120-<host>-<pid>-<id>/   in flight
  quarantine/                   what failed verification; never deleted
  LATEST                        a hint; the truth is the newest folder that verifies
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from typing import TYPE_CHECKING, Any

from trainer_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = [
    "FORMAT_VERSION",
    "LATEST",
    "MANIFEST",
    "QUARANTINE",
    "STATE",
    "NewerFormatError",
    "list_steps",
    "read_manifest",
    "require_safe_names",
    "seal_manifest",
    "step_name",
    "step_of",
    "verify_files",
]

FORMAT_VERSION = 1
MANIFEST = "MANIFEST.json"
STATE = "state.json"
LATEST = "LATEST"
QUARANTINE = "quarantine"
TEMPORARY_PREFIX = ".tmp-"
GONE_PREFIX = f"{TEMPORARY_PREFIX}gone-"

_STEP_FOLDER = re.compile(r"step-(\d{9,})")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")
_MANIFEST_BYTES = 16 * 1024 * 1024
_CHUNK = 4 * 1024 * 1024


class NewerFormatError(CheckpointError):
    """A checkpoint was written by a newer version: it is whole, and not for this one to judge."""


def step_name(step: int) -> str:
    """Return the name of a step's folder: `step-000000120`."""
    return f"step-{step:09d}"


def step_of(name: str) -> int | None:
    """Return the step of a folder named `step-000000120`; None for any other name."""
    match = _STEP_FOLDER.fullmatch(name)
    return None if match is None else int(match[1])


def list_steps(root: Path) -> list[tuple[int, Path]]:
    """Return (step, folder) of everything named like a checkpoint, newest first."""
    if not os.path.isdir(root):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
        return []
    found = [(step, entry) for entry in root.iterdir() if (step := step_of(entry.name)) is not None]
    return sorted(found, reverse=True)


def seal_manifest(fields: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return the manifest's text, which ends with a hash of itself."""
    content = {"format_version": FORMAT_VERSION, **fields, "files": dict(sorted(files.items()))}
    content["manifest_sha256"] = _content_hash(content)
    return (json.dumps(content, indent=1) + "\n").encode()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's manifest after checking the manifest itself.

    Raises:
        CheckpointError: It is missing, unreadable, changed, or of a newer format.
    """
    path = folder / MANIFEST
    data = _read_small_file(path)
    try:
        content: Any = json.loads(data)
    except (ValueError, RecursionError) as exc:
        msg = f"{path} is not JSON"
        raise CheckpointError(msg) from exc
    if not isinstance(content, dict) or not _has_entries(content.get("files")):
        msg = f"{path} is not a manifest"
        raise CheckpointError(msg)
    version = content.get("format_version")
    is_as_written = content.pop("manifest_sha256", None) == _content_hash(content)
    if is_as_written and isinstance(version, int) and version > FORMAT_VERSION:
        msg = (
            f"{path} was written by a newer trainer-core (format {version}; this one reads "
            f"{FORMAT_VERSION}): upgrade trainer-core to use it"
        )
        raise NewerFormatError(msg)
    if version != FORMAT_VERSION:
        msg = f"{path} has format {version!r}; this version of trainer-core reads {FORMAT_VERSION}"
        raise CheckpointError(msg)
    if not is_as_written:
        msg = f"{path} was changed after it was written"
        raise CheckpointError(msg)
    return content


def _has_entries(files: Any) -> bool:
    return isinstance(files, dict) and all(isinstance(entry, dict) for entry in files.values())


def verify_files(
    folder: Path,
    manifest: Mapping[str, Any],
    *,
    is_full: bool = True,
    progress: Callable[[int], object] = lambda _bytes: None,
) -> None:
    """Check every file of a checkpoint against its manifest.

    Args:
        folder: The checkpoint.
        manifest: Its manifest.
        is_full: Whether to read the files; else only names, kinds and sizes are checked.
        progress: Called with the bytes that were read since the last call.

    Raises:
        CheckpointError: A file is missing, a link, of another size or content, or has a name
            that leaves the folder; the message names it.
    """
    require_safe_names(folder, manifest)
    for name, entry in manifest["files"].items():
        path = folder / name
        for part in [folder, *(folder / p for p in reversed(path.relative_to(folder).parents))]:
            _require(part, stat.S_ISDIR, "folder")
        _require(path, stat.S_ISREG, "file")
        size, wanted = path.stat().st_size, entry.get("bytes")
        if size != wanted:
            msg = f"{path} has {size} bytes, its manifest says {wanted}"
            raise CheckpointError(msg)
        if is_full and _file_hash(path, progress) != entry.get("sha256"):
            msg = f"{path} is corrupt: its sha256 is not the one in its manifest"
            raise CheckpointError(msg)


def require_safe_names(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest with a name that leaves the folder of its checkpoint.

    Raises:
        CheckpointError: There is one.
    """
    for name in manifest["files"]:
        if not isinstance(name, str) or not _FILE_NAME.fullmatch(name) or ".." in name:
            msg = f"{folder} lists a file with the unsafe name {name!r}"
            raise CheckpointError(msg)


def _file_hash(path: Path, progress: Callable[[int], object]) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while data := file.read(_CHUNK):
            digest.update(data)
            progress(len(data))
    return digest.hexdigest()


def _read_small_file(path: Path) -> bytes:
    _require(path.parent, stat.S_ISDIR, "folder")
    _require(path, stat.S_ISREG, "file")
    if path.stat().st_size > _MANIFEST_BYTES:
        msg = f"{path} is larger than any manifest"
        raise CheckpointError(msg)
    try:
        return path.read_bytes()
    except OSError as exc:
        msg = f"{path} cannot be read: {exc.strerror}"
        raise CheckpointError(msg) from exc


def _require(path: Path, is_kind: Any, kind: str) -> None:
    """Refuse what is missing or a symbolic link; a checkpoint has none."""
    try:
        mode = path.lstat().st_mode
    except OSError as exc:
        msg = f"{path} is missing"
        raise CheckpointError(msg) from exc
    if stat.S_ISLNK(mode):
        msg = f"{path} is a symbolic link, which a checkpoint must not have"
        raise CheckpointError(msg)
    if not is_kind(mode):
        msg = f"{path} is not a {kind}"
        raise CheckpointError(msg)


def _content_hash(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
