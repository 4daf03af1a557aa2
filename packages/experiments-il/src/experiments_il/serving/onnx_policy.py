"""A policy exported to ONNX. Needs numpy and onnxruntime, no torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["OnnxPolicy"]

_ABOUT = "program.json"
_FORMAT_VERSION = 1
_NOISE = "noise"


class OnnxPolicy:
    """Turns observations into chunks with ONNX Runtime.

    Args:
        folder: What `trainer ckpt export --format onnx` wrote.
        threads: Threads of one call; more help large models only.
        providers: Of ONNX Runtime, the best first; None: the CPU.

    Attributes:
        about: The content of `program.json`.

    Raises:
        ValueError: The folder is no such export, or a file is not as it was written.
    """

    def __init__(
        self, folder: str | Path, *, threads: int = 1, providers: list[str] | None = None
    ) -> None:
        root = Path(folder)
        self.about: dict[str, Any] = _read_about(root)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(
            root / self.about["file"], options, providers=providers or ["CPUExecutionProvider"]
        )
        described = self.about["about"]
        self.observation_keys: tuple[str, ...] = tuple(described["observation_keys"])
        self.horizon: int = described["horizon"]
        self.action_dim: int = described["action_dim"]
        self.noise_shape: tuple[int, ...] = tuple(described["noise_shape"])
        self._is_noisy = any(each["name"] == _NOISE for each in self.about["inputs"])

    def act(
        self, observation: Mapping[str, NDArray[Any]], noise: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Return chunks `(B, H, A)` in the data set's units.

        Args:
            observation: Key to `(B, T, ...)`, oldest frame first, in the data set's units.
            noise: Standard normal `(B, *noise_shape)`; None: drawn.
        """
        feed = {key: np.asarray(observation[key]) for key in self.observation_keys}
        if self._is_noisy:
            count = len(feed[self.observation_keys[0]])
            if noise is None:
                noise = np.random.default_rng().standard_normal((count, *self.noise_shape))
            feed[_NOISE] = np.asarray(noise, np.float32)
        chunks: NDArray[np.float32] = self._session.run(None, feed)[0]
        return chunks

    def infer(self, observation: Mapping[str, NDArray[Any]], noise: NDArray[Any]) -> NDArray[Any]:
        """Return `act(observation, noise)`: what a server calls."""
        return self.act(observation, noise)


def _read_about(root: Path) -> dict[str, Any]:
    try:
        about = json.loads((root / _ABOUT).read_bytes())
    except (OSError, ValueError) as exc:
        msg = f"{root} is no exported program: {_ABOUT} cannot be read"
        raise ValueError(msg) from exc
    if not isinstance(about, dict) or about.get("format_version") != _FORMAT_VERSION:
        msg = f"{root / _ABOUT} is not of format {_FORMAT_VERSION}"
        raise ValueError(msg)
    if about.get("format") != "onnx" or about.get("about", {}).get("kind") != "action_chunk":
        msg = f"{root} is a program of format {about.get('format')!r}, not a policy in ONNX"
        raise ValueError(msg)
    for name, entry in about["files"].items():
        path = root / name
        if Path(name).name != name or not path.is_file():
            msg = f"{path} is missing"
            raise ValueError(msg)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != entry["sha256"]:
            msg = f"{path} is not as it was exported: its sha256 differs"
            raise ValueError(msg)
    return about
