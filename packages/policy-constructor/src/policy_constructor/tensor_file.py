"""Reads safetensors files: a header of JSON, then numbers; nothing in them is executed."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

__all__ = ["read_tensors"]

_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
_LENGTH_BYTES = 8
_LARGEST_HEADER = 100_000_000


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no safetensors file, or its header does not fit what follows.

    Source: https://huggingface.co/docs/safetensors, "Format".
    """
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    begin = _LENGTH_BYTES + length
    if len(data) < _LENGTH_BYTES or length > _LARGEST_HEADER or begin > len(data):
        msg = f"{path} is no safetensors file"
        raise ValueError(msg)
    try:
        header = json.loads(data[_LENGTH_BYTES:begin])
        header.pop("__metadata__", None)
        tensors = {str(name): _tensor(entry, data, begin) for name, entry in header.items()}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as exc:
        msg = f"{path} is no safetensors file: {exc}"
        raise ValueError(msg) from exc
    return tensors


def _tensor(entry: Any, data: bytearray, begin: int) -> Tensor:
    dtype, shape = _DTYPES[entry["dtype"]], [int(size) for size in entry["shape"]]
    start, end = (int(offset) for offset in entry["data_offsets"])
    size = math.prod(shape) * dtype.itemsize
    if min([0, start, *shape]) < 0 or end - start != size or begin + end > len(data):
        msg = f"a tensor of {size} bytes lies at {start} to {end}"
        raise ValueError(msg)
    if size == 0:
        return torch.empty(shape, dtype=dtype)
    content = torch.frombuffer(data, dtype=torch.uint8, count=size, offset=begin + start)
    return content.clone().view(dtype).view(shape)
