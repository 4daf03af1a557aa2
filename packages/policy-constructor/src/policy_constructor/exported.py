"""A policy that `trainer ckpt export` wrote: models with their weights, and the normalisation.

<folder>/
  policy.json                what it is: step, components, batch keys, wheels, sizes and hashes
  model.<name>.yaml          a component, as a model file that `build_model` takes
  model.<name>.safetensors   its weights
  norm_stats.json            statistics of the data set, by batch key
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from policy_constructor.build import build_model
from policy_constructor.errors import ConfigError, Problem
from policy_constructor.pretrained import without_pretrained
from policy_constructor.tensor_file import read_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ABOUT", "FORMAT_VERSION", "ExportedPolicy", "load_export", "read_about"]

ABOUT = "policy.json"
FORMAT_VERSION = 1
_FIRST_AND_SECOND = {
    "mean_std": ("mean", "std"),
    "min_max": ("min", "max"),
    "quantiles": ("q01", "q99"),
}
_CONSTANT_BELOW = 1e-4


@dataclass
class ExportedPolicy:
    """A trained policy, ready to be called.

    Attributes:
        about: The content of `policy.json`.
        models: The components by name, in eval mode, without gradients.
        norm_stats: Statistics of the data set by batch key; each has its `mode`.
    """

    about: dict[str, Any]
    models: nn.ModuleDict
    norm_stats: dict[str, dict[str, Any]]

    def normalize(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return a batch as the models were trained on it; keys without statistics pass."""
        return {key: self._normalize(key, value) for key, value in batch.items()}

    def unnormalize(self, key: str, value: Tensor) -> Tensor:
        """Return a tensor in the units of the data set.

        A key that was made relative (`relative` of its statistics) stays the difference to its
        reference; whoever acts on it adds the reference, as `experiments_il.load_policy` does.

        Raises:
            KeyError: There are no statistics of this key.
        """
        center_and_scale = _center_and_scale(self.norm_stats[key])
        if center_and_scale is None:
            return value
        center, scale = (part.to(value.device) for part in center_and_scale)
        return torch.mul(value, scale).add_(center)

    def _normalize(self, key: str, value: Any) -> Any:
        center_and_scale = _center_and_scale(self.norm_stats.get(key, {"mode": "identity"}))
        if center_and_scale is None:
            return value
        if not value.is_floating_point():  # pictures are scaled from bytes to [0, 1]
            value = value.float() / 255.0 if value.dtype == torch.uint8 else value.float()
        center, scale = (part.to(value.device) for part in center_and_scale)
        return torch.sub(value, center).mul_(1.0 / scale)


def load_export(folder: str | Path, *, device: torch.device | str = "cpu") -> ExportedPolicy:
    """Load what `trainer ckpt export` wrote; the packages of its blocks must be installed.

    Args:
        folder: The exported folder.
        device: Where the models are put.

    Raises:
        ConfigError: It is no export, a file is missing or changed, or a model cannot be built or
            does not fit its weights.
    """
    root = Path(folder)
    about = read_about(root)
    for name, entry in about["files"].items():
        _require_unchanged(root, name, entry)
    models = nn.ModuleDict()
    for name, part in about["components"].items():
        with without_pretrained():
            module = build_model(root / part["model"])
        tensors = _wrapped(root / part["weights"])
        for alias, canonical in part.get("aliases", {}).items():
            tensors.setdefault(alias, tensors[canonical])
        _load(module, tensors, name)
        models[name] = module
    models.eval().requires_grad_(requires_grad=False)
    norm_stats = json.loads((root / "norm_stats.json").read_bytes())
    return ExportedPolicy(about, models.to(device), norm_stats)


def read_about(root: Path) -> dict[str, Any]:
    """Return the content of an export's `policy.json`.

    Raises:
        ConfigError: It cannot be read, or is of another version.
    """
    try:
        about = json.loads((root / ABOUT).read_bytes())
    except (OSError, ValueError) as exc:
        msg = f"{root} is no exported policy: {ABOUT} cannot be read"
        raise _wrong(msg) from exc
    version = about.get("format_version") if isinstance(about, dict) else None
    if version != FORMAT_VERSION:
        msg = (
            f"{root / ABOUT} has format {version!r}; this version of policy-constructor reads "
            f"{FORMAT_VERSION}"
        )
        raise _wrong(msg)
    return dict(about)


def _require_unchanged(root: Path, name: str, entry: Mapping[str, Any]) -> None:
    path = root / name
    if Path(name).name != name or path.is_symlink() or not path.is_file():
        msg = f"{path} is missing, or not a file of the export"
        raise _wrong(msg)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != entry.get("sha256"):
        msg = f"{path} is not as it was exported: its sha256 differs"
        raise _wrong(msg)


def _wrapped(path: Path) -> dict[str, Tensor]:
    try:
        return read_tensors(path)
    except (OSError, ValueError) as exc:
        raise _wrong(str(exc)) from exc


def _load(module: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    passing = {key for key, _ in module.named_buffers()} - set(module.state_dict())
    kept = {key: tensor for key, tensor in tensors.items() if key not in passing}
    try:
        module.load_state_dict(kept)
    except RuntimeError as exc:
        msg = f"the weights do not fit the component {name!r}: {exc}"
        raise _wrong(msg) from exc


def _center_and_scale(stats: Mapping[str, Any]) -> tuple[Tensor, Tensor] | None:
    """Return c and s of x = c + s y; None where nothing is to do."""
    names = _FIRST_AND_SECOND.get(str(stats.get("mode")))
    if names is None:
        return None
    first, second = (torch.as_tensor(stats[name], dtype=torch.float64) for name in names)
    if stats["mode"] == "mean_std":
        center, scale, constant = first, second, second < _CONSTANT_BELOW
    else:
        center, scale = (first + second) / 2, (second - first) / 2
        constant = (second - first) < _CONSTANT_BELOW
    scale = torch.where(constant, torch.ones_like(scale), scale)
    return center.float(), scale.float()


def _wrong(message: str) -> ConfigError:
    return ConfigError(Problem(message))
