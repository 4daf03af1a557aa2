"""Safetensors files, sound and hostile."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from policy_constructor.tensor_file import read_tensors

if TYPE_CHECKING:
    from pathlib import Path


def test_what_safetensors_writes_is_read(tmp_path: Path) -> None:
    dtypes = [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64]
    state = {str(dtype): torch.arange(6).view(2, 3).to(dtype) for dtype in dtypes}
    state |= {"scalar": torch.tensor(1.5), "empty": torch.zeros(0, 3)}
    save_file(state, tmp_path / "f")
    found = read_tensors(tmp_path / "f")
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def entry(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


@pytest.mark.parametrize(
    "header",
    [
        entry(shape=[3]),
        entry(shape=[-2]),
        entry(data_offsets=[8, 16]),
        entry(data_offsets=[-8, 0]),
        entry(shape=[2**62], data_offsets=[0, 2**64]),
        entry(dtype="F12"),
        {"w": 3},
        [],
        "x",
    ],
    ids=str,
)
def test_header_that_does_not_fit_is_refused(tmp_path: Path, header: Any) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "f").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(ValueError, match="is no safetensors file"):
        read_tensors(tmp_path / "f")


@pytest.mark.parametrize("data", [b"", b"123", b"\xff" * 8, (2**63).to_bytes(8, "little") + b"{}"])
def test_length_that_cannot_be_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(ValueError, match="is no safetensors file"):
        read_tensors(tmp_path / "f")
