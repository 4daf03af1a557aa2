"""A checkpoint -> one folder with the policy alone; nothing here needs torch."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

from policy_constructor.config import Node, resolve_config, to_yaml
from trainer_core.checkpoint.layout import STATE, read_manifest, verify_files
from trainer_core.errors import CheckpointError, UserError
from trainer_core.storage import (
    flush_to_disk,
    make_folder,
    read_json_mapping,
    storage_errors,
    temporary_folder,
    write_new_file,
    write_parts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

__all__ = ["AveragedWeights", "averaged_kind", "export_policy"]

_FORMAT_VERSION = 1
_CONFIG = "config.resolved.yaml"
_CHUNK = 4 * 1024 * 1024


class AveragedWeights(NamedTuple):
    """Weights that are in no file of the checkpoint as a model takes them.

    Attributes:
        kind: `ema`, or `averaged` by the optimizer.
        component: Returns the safetensors file of a component, and which names share a tensor.
    """

    kind: str
    component: Callable[[str], tuple[bytes, dict[str, str]]]


def export_policy(
    checkpoint: Path,
    out: Path,
    *,
    averaged: Callable[[], AveragedWeights] | None = None,
    drop: Iterable[str] = (),
    progress: Callable[[int], object] = lambda _bytes: None,
) -> dict[str, Any]:
    """Write what using a policy needs; `policy_constructor.exported.load_export` reads it.

    Args:
        checkpoint: The checkpoint's folder; it is verified first.
        out: The new folder. It appears whole or not at all.
        averaged: Gives the averaged weights when the checkpoint is verified; None: the trained
            ones are taken.
        drop: Keys of a component that say nothing about the model.
        progress: Called with the bytes that were verified.

    Returns:
        The content of `policy.json`.

    Raises:
        CheckpointError: The checkpoint is not whole, or has no record of its model.
        UserError: `out` exists.
        StorageError: The disk refuses.
    """
    if out.exists() or out.is_symlink():
        msg = f"{out} exists; name a new folder"
        raise UserError(msg)
    manifest = read_manifest(checkpoint)
    verify_files(checkpoint, manifest, progress=progress)
    if _CONFIG not in manifest["files"]:
        msg = f"{checkpoint} has no {_CONFIG}: its model was put together in Python"
        raise CheckpointError(msg)
    weights = averaged() if averaged is not None else None
    make_folder(out.parent)
    with storage_errors(out):
        temporary = temporary_folder(out)
        try:
            about = _fill(checkpoint, temporary, weights, set(drop))
            os.rename(temporary, out)  # noqa: PTH104 - fails if a folder with files came meanwhile
            flush_to_disk(out.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return about


def averaged_kind(checkpoint: Path) -> str:
    """Return of which kind the averaged weights of a checkpoint are; empty if there are none.

    Raises:
        CheckpointError: The manifest or `state.json` cannot be read.
    """
    if any(name.startswith("ema.") for name in read_manifest(checkpoint)["files"]):
        return "ema"
    return "averaged" if read_json_mapping(checkpoint / STATE).get("averaging") else ""


def _fill(
    checkpoint: Path, folder: Path, averaged: AveragedWeights | None, drop: set[str]
) -> dict[str, Any]:
    resolved = resolve_config(checkpoint / _CONFIG)
    data, document = resolved.data, json.loads((checkpoint / STATE).read_bytes())
    files: dict[str, Any] = {}
    components: dict[str, Any] = {}
    for name, node in _component_nodes(resolved.root).items():
        model, weights = f"model.{name}.yaml", f"model.{name}.safetensors"
        body = {key: child for key, child in node.value.items() if key not in drop}
        text = to_yaml(Node({"model": Node(body)}), redact_env=True)
        files[model] = write_new_file(folder / model, text.encode())
        if averaged is None:
            files[weights] = _copy(checkpoint / weights, folder / weights)
            aliases = document.get("aliases", {}).get(name, {})
        else:
            data_of_file, aliases = averaged.component(name)
            files[weights] = write_new_file(folder / weights, data_of_file)
        components[name] = {"model": model, "weights": weights, "aliases": aliases}
    stats = (checkpoint / "norm_stats.json").read_bytes()
    files["norm_stats.json"] = write_new_file(folder / "norm_stats.json", stats)
    about = {
        "format_version": _FORMAT_VERSION,
        "name": (data.get("run") or {}).get("name"),
        "step": document["step"],
        "weights": "trained" if averaged is None else averaged.kind,
        "components": components,
        "trainer": data.get("trainer"),
        "loss": data.get("loss"),
        "io": data.get("io"),
        "keys": _describe_keys(json.loads(stats)),
        "data": document.get("data"),
        "wheels": _wheels(checkpoint),
        "files": files,
    }
    write_new_file(folder / "policy.json", (json.dumps(about, indent=1) + "\n").encode())
    flush_to_disk(folder)
    return about


def _component_nodes(root: Node) -> dict[str, Node]:
    models = root.child("models")
    if models is not None and models.is_mapping:
        return {str(name): node for name, node in models.items()}
    single = root.child("model")
    if single is None:
        msg = "the checkpoint's file has no model"
        raise CheckpointError(msg)
    return {"model": single}


def _describe_keys(stats: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return how each batch key is normalised, and the shape of its statistics."""
    return {
        key: {"mode": entry.get("mode"), "shape": _shape(next(_lists(entry), 0.0))}
        for key, entry in stats.items()
    }


def _lists(entry: Mapping[str, Any]) -> Any:
    return (value for value in entry.values() if isinstance(value, list))


def _shape(value: Any) -> list[int]:
    return [len(value), *_shape(value[0])] if isinstance(value, list) and value else []


def _wheels(checkpoint: Path) -> dict[str, str]:
    try:
        return dict(json.loads((checkpoint / "plugins.json").read_bytes())["distributions"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _copy(source: Path, target: Path) -> dict[str, Any]:
    with source.open("rb") as file:
        return write_parts(target, iter(lambda: file.read(_CHUNK), b""))
