"""The formats of an exported program: how each is written, and run to be checked."""

from __future__ import annotations

import importlib
import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch

from trainer_core.errors import MissingPackageError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor
    from torch.export import ExportedProgram

    from trainer_core.protocols import Exportable

__all__ = ["FORMATS", "OnnxFormat", "ProgramFormat", "Pt2Format", "trace"]

_LARGEST_IN_ONE_FILE = 1_500_000_000  # a protobuf holds 2 GB at most


class ProgramFormat(Protocol):
    """A format of programs."""

    file: str

    def require(self, extra: str) -> None:
        """Check that the packages are installed.

        Raises:
            MissingPackageError: One is not; `extra` brings it.
        """
        ...

    def write(self, program: ExportedProgram, exportable: Exportable, path: Path) -> None:
        """Write a traced program."""
        ...

    def open(self, path: Path) -> Callable[[Sequence[Tensor]], list[Tensor]]:
        """Return a function from inputs to outputs that runs the file on one thread."""
        ...


class Pt2Format:
    """The archive of `torch.export.save`, for Python and C++ programs that have torch."""

    file = "policy.pt2"

    def require(self, extra: str) -> None:
        """Do nothing: torch is there."""

    def write(self, program: ExportedProgram, exportable: Exportable, path: Path) -> None:
        """Write the archive."""
        del exportable
        with _quietly():
            torch.export.save(program, path)

    def open(self, path: Path) -> Callable[[Sequence[Tensor]], list[Tensor]]:
        """Return a function that runs the archive."""
        with _quietly():
            module: Any = torch.export.load(path).module()

        def run(inputs: Sequence[Tensor]) -> list[Tensor]:
            with torch.no_grad():
                return _as_list(module(*inputs))

        return run


class OnnxFormat:
    """ONNX, which ONNX Runtime and TensorRT run without torch."""

    file = "policy.onnx"

    def require(self, extra: str) -> None:
        """Check that the packages are installed.

        Raises:
            MissingPackageError: One is not.
        """
        for package in ("onnx", "onnxscript", "onnxruntime"):
            try:
                importlib.import_module(package)
            except ModuleNotFoundError as exc:
                need = "exporting to ONNX"
                raise MissingPackageError(need, extra) from exc

    def write(self, program: ExportedProgram, exportable: Exportable, path: Path) -> None:
        """Write the model; weights of more than 1.5 GB go into a file beside it."""
        with _quietly():
            converted = torch.onnx.export(
                program,
                (),
                dynamo=True,
                verbose=False,
                input_names=list(exportable.inputs),
                output_names=list(exportable.outputs),
            )
        assert converted is not None
        size = sum(tensor.nbytes for tensor in program.state_dict.values())
        converted.save(path, external_data=size > _LARGEST_IN_ONE_FILE)

    def open(self, path: Path) -> Callable[[Sequence[Tensor]], list[Tensor]]:
        """Return a function that runs the model in ONNX Runtime on the CPU."""
        runtime = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]

        def run(inputs: Sequence[Tensor]) -> list[Tensor]:
            feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
            return [torch.from_numpy(value) for value in session.run(None, feed)]

        return run


FORMATS: dict[str, ProgramFormat] = {"onnx": OnnxFormat(), "pt2": Pt2Format()}


def trace(exportable: Exportable) -> ExportedProgram:
    """Return the program of an exportable module, with a batch axis of any length.

    Raises:
        UserError: The module cannot be traced: it branches on values, or depends on the length of
            the batch.
    """
    batch = torch.export.Dim("batch", min=1)
    values = tuple(exportable.inputs.values())
    shapes = (tuple({0: batch} for _ in values),)
    try:
        with _quietly(), torch.no_grad():
            module = _Positional(exportable.module)
            return torch.export.export(module, values, dynamic_shapes=shapes)
    except Exception as exc:  # torch raises many kinds
        first = str(exc).strip().partition("\n")[0]
        msg = f"the policy cannot be exported: {type(exc).__name__}: {first}"
        raise UserError(msg) from exc


class _Positional(torch.nn.Module):
    """A module whose arguments have no names, whatever its forward calls them."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *values: Tensor) -> Any:
        """Return what the module returns."""
        return self.module(*values)


def _as_list(outputs: Any) -> list[Tensor]:
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


@contextmanager
def _quietly() -> Iterator[None]:
    """Leave out what torch's exporter says about itself and about packages that are not there."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
