"""How many features the layers take that a model's inputs go into first; without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from policy_constructor.graph.ir import Ref, SpecIR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from policy_constructor.graph.ir import GraphIR, StepIR

__all__ = ["FeatureNeed", "feature_needs"]

_LAYERS = {
    "torch.nn:Linear": ("in_features", None),
    "torch.nn:Conv1d": ("in_channels", 2),
    "torch.nn:Conv2d": ("in_channels", 3),
    "torch.nn:Conv3d": ("in_channels", 4),
    "policy_constructor.blocks.basic:ConvBnAct": ("in_channels", 3),
    "policy_constructor.blocks.basic:ResidualBlock": ("in_channels", 3),
}
"""Parameter that says the size, and for channels how many dimensions a sample has."""


class FeatureNeed(NamedTuple):
    """What a layer needs of a model input.

    Attributes:
        input: Name of the model input.
        layer: The layer.
        parameter: Its parameter with the size (`in_features`).
        size: Its value.
        dims: Dimensions of a sample whose first one are the channels; None: features come last.
    """

    input: str
    layer: SpecIR
    parameter: str
    size: int
    dims: int | None

    @property
    def noun(self) -> str:
        """What is counted."""
        return "features" if self.dims is None else "channels"

    def size_in(self, shape: Sequence[int]) -> int | None:
        """Return the size that a sample of a shape has there; None if that cannot be told."""
        if self.dims is None:
            return shape[-1] if shape else None
        return shape[0] if len(shape) == self.dims else None


def feature_needs(ir: GraphIR) -> Iterator[FeatureNeed]:
    """Yield what is known of the inputs that go into a layer as they are."""
    bodies = {module.name: module.body for module in ir.modules}
    if isinstance(ir.block, SpecIR) and len(ir.inputs) == 1:
        yield from _need(ir.inputs[0], ir.block)
    for step in ir.steps:
        body = bodies.get(step.callee)
        name = _only_input(step)
        if step.kind == "module" and isinstance(body, SpecIR) and name in ir.inputs:
            yield from _need(str(name), body)


def _only_input(step: StepIR) -> str | None:
    given = [*step.args, *step.kwargs.values()]
    return given[0].name if len(given) == 1 and isinstance(given[0], Ref) else None


def _need(name: str, layer: SpecIR) -> Iterator[FeatureNeed]:
    parameter, dims = _LAYERS.get(layer.target, ("", None))
    size = layer.kwargs.get(parameter, layer.args[0] if layer.args else None)
    if parameter and type(size) is int:
        yield FeatureNeed(name, layer, parameter, size, dims)
