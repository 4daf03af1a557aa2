"""Tensors -> a safetensors file, hashed while it is written and without a second copy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

from trainer_core.errors import CheckpointError
from trainer_core.storage import write_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

__all__ = ["require_storable", "write_tensors"]

_DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
_ALIGNMENT = 8
_CHUNK = 8 * 1024 * 1024


def require_storable(tensors: Mapping[str, Tensor], file: str) -> None:
    """Check that the format has every tensor's number type.

    Raises:
        CheckpointError: It has not; the message names the tensor.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            msg = f"{file}: the tensor {name!r} is {tensor.dtype}, which safetensors cannot hold"
            raise CheckpointError(msg)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Write a new safetensors file and flush it to disk; return its size and sha256.

    Args:
        path: Must not exist.
        tensors: On the CPU; what is contiguous is written from where it is.

    Raises:
        CheckpointError: A tensor's number type does not exist in the format.
        OSError: The disk refuses.

    Source: https://huggingface.co/docs/safetensors, "Format".
    """
    require_storable(tensors, path.name)
    # Wider numbers first, so that each tensor begins at a multiple of its item's size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    return write_parts(path, _parts(ordered))


def _header(ordered: list[tuple[str, Tensor]]) -> bytes:
    content: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in ordered:
        end = offset + tensor.numel() * tensor.element_size()
        content[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _parts(ordered: list[tuple[str, Tensor]]) -> Iterator[bytes | memoryview]:
    yield _header(ordered)
    for _, tensor in ordered:
        flat = tensor.detach().contiguous().reshape(-1)
        if flat.numel():
            data = memoryview(flat.view(torch.uint8).numpy().data)
            for start in range(0, len(data), _CHUNK):
                yield data[start : start + _CHUNK]
