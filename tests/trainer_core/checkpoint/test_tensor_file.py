"""Files that safetensors reads back, whatever the tensors are like."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from trainer_core.checkpoint.shadow import Shadow, borrow
from trainer_core.checkpoint.tensor_file import write_tensors
from trainer_core.errors import CheckpointError

DTYPES = [torch.bool, torch.uint8, torch.int16, torch.int64, torch.float16, torch.bfloat16]
DTYPES += [torch.float32, torch.float64, torch.complex64]


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    values = torch.randint(0, 9, shape, generator=generator).to(dtype)
    return values.transpose(0, -1) if values.ndim > 1 and draw(st.booleans()) else values


@given(st.dictionaries(st.text(min_size=1), tensors(), max_size=5))
def test_what_is_copied_and_written_is_read_back(state: dict[str, torch.Tensor]) -> None:
    state.pop("__metadata__", None)
    shadow = Shadow()
    for staged in (borrow("f", state), shadow.copy("f", state), shadow.copy("f", state)):
        with TemporaryDirectory() as folder:
            path = Path(folder) / "f"
            entry = write_tensors(path, staged)
            data = path.read_bytes()
            found = load_file(path)
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        assert found.keys() == state.keys()
        for name, tensor in state.items():
            assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
            assert torch.equal(found[name], tensor)


def test_number_type_that_the_format_lacks_is_named(tmp_path: Path) -> None:
    state = {"w": torch.zeros(2, dtype=torch.complex128)}
    with pytest.raises(CheckpointError) as caught:
        write_tensors(tmp_path / "model.net.safetensors", state)
    assert str(caught.value) == (
        "model.net.safetensors: the tensor 'w' is torch.complex128, which safetensors cannot hold"
    )
    assert not list(tmp_path.iterdir())
