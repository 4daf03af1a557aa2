"""Write the golden checkpoints: what this version saves, to be read by every later one.

    python -m benchmarks.faults.golden

Run it once per format, before a release; never change what it wrote. The folder has the experiment,
the checkpoint of a step in the middle, and the weights of that step as numbers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from benchmarks.faults import runs
from safetensors.torch import load_file

from trainer_core.checkpoint.layout import FORMAT_VERSION, MANIFEST, seal_manifest, step_name

__all__ = ["GOLDEN", "MIDDLE", "STEPS", "golden_runs"]

_REPOSITORY = Path(__file__).parents[2]
_PACKAGES = ("torch", "numpy", "safetensors", "trainer-core")

GOLDEN = _REPOSITORY / "tests" / "fixtures" / "checkpoints"
STEPS, MIDDLE = 8, 4


def golden_runs() -> dict[str, dict[str, object]]:
    """Return the experiments by the name of their folder."""
    small = runs.small_run(steps=STEPS, every=MIDDLE, keep=STEPS)
    layers = [
        {"_type_": "nn.Conv1d", "in_channels": 3, "out_channels": 4, "kernel_size": 1},
        {"_type_": "nn.BatchNorm1d", "num_features": 4},
        {"_type_": "nn.Flatten"},
        {"_type_": "nn.Linear", "in_features": 8, "out_features": 2},
    ]
    averaged = runs.small_run(steps=STEPS, every=MIDDLE, keep=STEPS)
    averaged["model"] = {"sequential": {"layers": layers}}
    averaged["data"]["x_shape"] = [3, 2]
    averaged["callbacks"].append({"_type_": "ema"})
    averaged["optimizer"] = {"_type_": "torch", "type": "SGD", "kwargs": {"lr": 0.1}}
    return {"adamw": small, "buffers-ema": averaged}


def main() -> None:
    """Write the checkpoints of the present format."""
    for name, config in golden_runs().items():
        folder = GOLDEN / f"format-{FORMAT_VERSION}" / name
        with tempfile.TemporaryDirectory() as scratch:
            runs.train(config, Path(scratch))
            saved = Path(scratch) / "checkpoints" / step_name(MIDDLE)
            shutil.copytree(saved, folder / step_name(MIDDLE))
            _forget_machine(folder / step_name(MIDDLE), scratch)
            weights = {
                name: tensor.flatten().tolist()
                for name, tensor in load_file(saved / "model.model.safetensors").items()
            }
        (folder / "experiment.json").write_text(json.dumps(config, indent=1) + "\n")
        (folder / "weights.json").write_text(json.dumps(weights, indent=1) + "\n")


def _forget_machine(folder: Path, scratch: str) -> None:
    """Take this machine's paths and packages out, and seal the checkpoint again."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for name, entry in manifest["files"].items():
        if not name.endswith(".safetensors"):
            text = (folder / name).read_text()
            text = text.replace(scratch, "run").replace(str(_REPOSITORY), "repository")
            if name == "environment.json":
                found = json.loads(text)["packages"]
                text = json.dumps({"packages": {package: found[package] for package in _PACKAGES}})
            (folder / name).write_text(text)
            entry["bytes"] = len(text.encode())
            entry["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    files = manifest.pop("files")
    fields = {k: v for k, v in manifest.items() if k not in {"format_version", "manifest_sha256"}}
    (folder / MANIFEST).write_bytes(seal_manifest(fields, files))


if __name__ == "__main__":
    main()
