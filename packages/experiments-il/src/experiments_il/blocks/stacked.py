"""Several copies of a module as one: their weights stacked, one matrix product for all.

Shapes: E experts, N rows, and so on as named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["StackedWeights", "Weights", "layer_norm", "shared_linear", "stacked_linear"]

_PREFIX = "experts."


class StackedWeights(nn.Module):
    """The parameters of like modules, each stacked to `(E, *shape)`.

    The state dict shows the experts one by one, as `experts.<number>.<name>`; loading takes this
    layout and the stacked one, so weights go to and from separately built modules.

    Args:
        modules: The experts. Their first weights are kept; the modules themselves are not.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        named = [dict(module.named_parameters()) for module in modules]
        self.count = len(modules)
        self.names = tuple(named[0])
        self.stacked = nn.ParameterDict(
            {
                _key(name): nn.Parameter(torch.stack([each[name].detach() for each in named]))
                for name in self.names
            }
        )
        self.register_state_dict_post_hook(_show_experts)  # type: ignore[no-untyped-call] # torch leaves it untyped
        self.register_load_state_dict_pre_hook(_accept_experts)  # type: ignore[no-untyped-call] # torch leaves it untyped

    def select(self, expert: int | Tensor | None = None) -> Weights:
        """Return the weights by name, of all experts or as a stack of a single one.

        Args:
            expert: Its number; None: all; or a number for each row of a batch, int64 `(B,)`: then
                the stack has a copy of the weights for each row, and every row its own expert.
        """
        if isinstance(expert, Tensor):
            rows = {name: self.stacked[_key(name)][expert] for name in self.names}
            return Weights(rows, is_row_wise=True)
        if expert is None:
            return Weights({name: self.stacked[_key(name)] for name in self.names})
        return Weights({name: self.stacked[_key(name)][expert : expert + 1] for name in self.names})


class Weights(dict[str, Tensor]):
    """Stacked weights by name.

    Args:
        named: `(E, *shape)` by name.
        is_row_wise: Whether each belongs to one row of the batch, so that E is B.
    """

    def __init__(self, named: Mapping[str, Tensor], *, is_row_wise: bool = False) -> None:
        super().__init__(named)
        self.is_row_wise = is_row_wise

    def map_input(self, x: Tensor, name: str, *, has_bias: bool = True) -> Tensor:
        """Return a linear map of an input that comes without the axis of experts.

        Args:
            x: `(B, ..., in)`.
            name: Of the layer.
            has_bias: Whether it has one.

        Returns:
            `(E, B, ..., out)`; row-wise `(B, 1, ..., out)`.
        """
        weight, bias = self[f"{name}.weight"], self[f"{name}.bias"] if has_bias else None
        if not self.is_row_wise:
            return shared_linear(x, weight, bias)
        if bias is None:
            bias = weight.new_zeros(weight.shape[:2])
        return stacked_linear(x.unsqueeze(1), weight, bias)


def shared_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return all experts' linear map of one input, by a single matrix product.

    Args:
        x: `(B, ..., in)`, the same for each expert.
        weight: `(E, out, in)`.
        bias: `(E, out)`.

    Returns:
        `(E, B, ..., out)`.
    """
    count, width, _ = weight.shape
    product = F.linear(x, weight.flatten(0, 1), None if bias is None else bias.flatten())
    return product.reshape(*x.shape[:-1], count, width).movedim(-2, 0)


def stacked_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return each expert's linear map of its own input.

    Args:
        x: `(E, ..., in)`.
        weight: `(E, out, in)`.
        bias: `(E, out)`.

    Returns:
        `(E, ..., out)`.
    """
    rows = x.flatten(1, -2)
    product = torch.baddbmm(bias.unsqueeze(1), rows, weight.transpose(1, 2))
    return product.reshape(*x.shape[:-1], weight.shape[1])


def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Return the layer norm of `(E, ..., D)`, with each expert's own scale and shift `(E, D)`."""
    normed = F.layer_norm(x, x.shape[-1:])
    if weight is None or bias is None:
        return normed
    shape = (weight.shape[0], *[1] * (x.ndim - 2), weight.shape[1])
    return normed * weight.reshape(shape) + bias.reshape(shape)


def _key(name: str) -> str:
    return name.replace(".", "-")  # a parameter's name has no dot


def _show_experts(
    module: nn.Module, state: dict[str, Any], prefix: str, local_metadata: Any
) -> None:
    del local_metadata
    assert isinstance(module, StackedWeights)
    for name in module.names:
        stacked = state.pop(f"{prefix}stacked.{_key(name)}")
        for number in range(module.count):
            state[f"{prefix}{_PREFIX}{number}.{name}"] = stacked[number]


def _accept_experts(module: nn.Module, state: Mapping[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(module, StackedWeights)
    assert isinstance(state, dict)
    for name in module.names:
        keys = [f"{prefix}{_PREFIX}{number}.{name}" for number in range(module.count)]
        if all(key in state for key in keys):
            state[f"{prefix}stacked.{_key(name)}"] = torch.stack([state.pop(key) for key in keys])
