"""The one call of `trainer ckpt export --format`: trace, write, compare, measure, or nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
from importlib.metadata import metadata
from typing import TYPE_CHECKING, Any

import torch

from policy_constructor.config import resolve_config
from trainer_core.checkpoint.data_description import described_keys
from trainer_core.checkpoint.document import read_state
from trainer_core.checkpoint.layout import MANIFEST
from trainer_core.deploy.checking import TOLERANCE, compare, measure, on_one_thread
from trainer_core.deploy.examples import example_batch
from trainer_core.deploy.formats import FORMATS, trace
from trainer_core.engine.trained import load_trained, restricted_plugins
from trainer_core.errors import UserError
from trainer_core.instantiate import load_component
from trainer_core.storage import (
    flush_to_disk,
    make_folder,
    storage_errors,
    temporary_folder,
    to_json_text,
    write_new_file,
)

if TYPE_CHECKING:
    from pathlib import Path

    from trainer_core.checkpoint.reader import Checkpoint
    from trainer_core.engine.trained import Trained
    from trainer_core.protocols import Exportable

__all__ = ["ABOUT", "export_program"]

ABOUT = "program.json"
_FORMAT_VERSION = 1
_TRACED_WITH = 3  # samples; torch takes a single one for a constant
_CHECKED_WITH = (1, 2, 5)
_SEEDS = (1, 2)


def export_program(checkpoint: Checkpoint, out: Path, kind: str) -> dict[str, Any]:
    """Write a policy as one program, from the data set's units to them.

    The program is compared with the policy itself for 1, 2 and 5 samples before anything of it
    appears under the name `out`.

    Args:
        checkpoint: A verified checkpoint.
        out: The new folder.
        kind: A key of `FORMATS`.

    Returns:
        The content of `program.json`.

    Raises:
        UserError: `out` exists, or the trainer has no exportable policy, or it cannot be traced.
        MissingPackageError: A package of the format is not installed.
        TrainerError: The program computes something else than the policy.
        StorageError: The disk refuses.
    """
    if out.exists() or out.is_symlink():
        msg = f"{out} exists; name a new folder"
        raise UserError(msg)
    form = FORMATS[kind]
    form.require(_check_trainer(checkpoint))
    trained = load_trained(checkpoint)
    data = read_state(checkpoint).get("data") or {}
    make_examples = _Examples(trained, described_keys(data, trained.normalizer.to_json()))
    exportable = make_examples(_TRACED_WITH, seed=0)
    make_folder(out.parent)
    with storage_errors(out):
        temporary = temporary_folder(out)
        try:
            form.write(trace(exportable), exportable, temporary / form.file)
            about = {
                "format_version": _FORMAT_VERSION,
                "format": kind,
                "file": form.file,
                "name": (trained.config.get("run") or {}).get("name"),
                "trainer": (trained.config.get("trainer") or {}).get("_type_"),
                "step": trained.step,
                "weights": trained.weights,
                "checkpoint": _sha256(checkpoint.path / MANIFEST),
                "fps": data.get("fps"),
                "inputs": _describe(exportable),
                "outputs": [
                    {"name": name, "unit": exportable.units.get(name, "")}
                    for name in exportable.outputs
                ],
                "about": exportable.about,
                **_check(exportable, make_examples, kind, temporary),
                "torch": torch.__version__,
                "files": {path.name: _entry(path) for path in sorted(temporary.iterdir())},
            }
            write_new_file(temporary / ABOUT, to_json_text(about).encode())
            flush_to_disk(temporary)
            os.rename(temporary, out)  # noqa: PTH104 - fails if a folder with files came meanwhile
            flush_to_disk(out.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return about


class _Examples:
    """Makes exportable policies with examples of any size; their modules are alike."""

    def __init__(self, trained: Trained, keys: dict[str, Any]) -> None:
        self.trained = trained
        self.keys = keys

    def __call__(self, size: int, seed: int) -> Exportable:
        batch = example_batch(self.keys, self.trained.normalizer, size, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            exportable: Exportable = self.trained.trainer.exportable(self.trained.normalizer, batch)
        exportable.module.eval()
        return exportable


def _check(
    exportable: Exportable, make_examples: _Examples, kind: str, folder: Path
) -> dict[str, Any]:
    """Return the largest difference and the latencies."""
    form = FORMATS[kind]
    exported, eager = form.open(folder / form.file), on_one_thread(exportable.module)
    difference = 0.0
    for size in _CHECKED_WITH:
        for seed in _SEEDS:
            inputs = list(make_examples(size, seed).inputs.values())
            where = f"{size} sample{'s' if size > 1 else ''} (seed {seed})"
            difference = max(difference, compare(eager, exported, inputs, where))
    one = list(make_examples(1, seed=1).inputs.values())
    return {
        "check": {
            "tolerance": TOLERANCE,
            "batch_sizes": list(_CHECKED_WITH),
            "largest_difference": difference,
        },
        "latency": [
            measure("eager", eager, one).to_json(),
            measure(kind, exported, one).to_json(),
        ],
    }


def _check_trainer(checkpoint: Checkpoint) -> str:
    """Check that the trainer can be exported; return the extra of its wheel with the packages.

    Raises:
        UserError: It cannot.
    """
    config = resolve_config(checkpoint.path / "config.resolved.yaml", strict=False).data
    name = str((config.get("trainer") or {}).get("_type_"))
    plugins = restricted_plugins(config)
    if not hasattr(load_component(name, plugins, kind="trainer"), "exportable"):
        msg = f"{name} has no exportable(normalizer, batch): only --format native is possible"
        raise UserError(msg)
    dist = plugins.find(name, ("trainer",)).dist
    extras = metadata(dist).get_all("Provides-Extra") or []
    return f"{dist}[onnx]" if "onnx" in extras else "trainer-core[onnx]"


def _describe(exportable: Exportable) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "shape": [None, *value.shape[1:]],
            "dtype": str(value.dtype).removeprefix("torch."),
            "unit": exportable.units.get(name, ""),
        }
        for name, value in exportable.inputs.items()
    ]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": _sha256(path)}
