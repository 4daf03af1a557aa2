"""Several copies of a module as one: their weights stacked, one matrix product for all.

Shapes: E experts, and so on as named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["StackedWeights", "Weights", "layer_norm", "stacked_linear"]

_PREFIX = "experts."


class StackedWeights(nn.Module):
    """The parameters of like modules, each stacked to `(E, *shape)`.

    The matrix of a linear layer is kept transposed, `(E, in, out)`: so the batched product takes
    it, and the product's gradient comes out; in the other layout every step would copy it.

    The state dict shows the experts one by one, as `experts.<number>.<name>` in the modules' own
    shapes; loading takes this layout and the stacked one, so weights go to and from separately
    built modules.

    Args:
        modules: The experts. Their first weights are kept; the modules themselves are not.
        joined: Name to linear layers that all take the same input. They are kept side by side, as
            one layer of that name, so that a single product has the outputs of all of them.
    """

    def __init__(
        self, modules: Sequence[nn.Module], joined: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        super().__init__()
        self.count = len(modules)
        self.slots = _slots(modules[0], joined or {})
        named = [dict(module.named_parameters()) for module in modules]
        self.stacked = nn.ParameterDict(
            {
                slot.key: nn.Parameter(
                    slot.stack([[each[name].detach() for each in named] for name in slot.names])
                )
                for slot in self.slots.values()
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
        named = {name: self.stacked[slot.key] for name, slot in self.slots.items()}
        if isinstance(expert, Tensor):
            return Weights({name: each[expert] for name, each in named.items()}, is_row_wise=True)
        if expert is None:
            return Weights(named)
        return Weights({name: each[expert : expert + 1] for name, each in named.items()})


@dataclass(frozen=True)
class _Slot:
    """One stacked parameter: which of the modules' parameters it keeps, and how.

    Attributes:
        key: Its name, without dots.
        names: Names in the modules.
        widths: How much of the last axis each takes.
        is_matrix: Whether they are matrices of linear layers, kept transposed.
    """

    key: str
    names: tuple[str, ...]
    widths: tuple[int, ...]
    is_matrix: bool

    def stack(self, weights: Sequence[Sequence[Tensor]]) -> Tensor:
        """Return what is kept of the weights of each name, given for each expert."""
        stacked = [torch.stack(list(each)) for each in weights]
        turned = [each.transpose(1, 2) for each in stacked] if self.is_matrix else stacked
        return torch.cat(turned, dim=-1).contiguous()

    def unstack(self, kept: Tensor) -> dict[str, Tensor]:
        """Return the view `(E, *shape)` of each name on what is kept, or on its gradient."""
        parts = kept.split_with_sizes(self.widths, dim=-1)
        turned = [part.transpose(1, 2) for part in parts] if self.is_matrix else parts
        return dict(zip(self.names, turned, strict=True))


def _slots(module: nn.Module, joined: Mapping[str, Sequence[str]]) -> dict[str, _Slot]:
    """Return the stacked parameters by the names that `Weights` has for them."""
    shapes = {name: weight.shape for name, weight in module.named_parameters()}
    layers = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    inside = {member for members in joined.values() for member in members}
    groups: dict[str, tuple[str, ...]] = {
        name: (name,) for name in shapes if name.rpartition(".")[0] not in inside
    }
    for label, members in joined.items():
        for kind in ("weight", "bias"):
            groups[f"{label}.{kind}"] = tuple(f"{member}.{kind}" for member in members)
    slots = {}
    for name, names in groups.items():
        is_matrix = names[0].removesuffix(".weight") in layers
        widths = tuple(shapes[each][0 if is_matrix else -1] for each in names)
        key = name.replace(".", "-") + ("-transposed" if is_matrix else "")
        slots[name] = _Slot(key, names, widths, is_matrix)
    return slots


class Weights(dict[str, Tensor]):
    """Stacked weights by name.

    Args:
        named: `(E, *shape)` by name; matrices of linear layers `(E, in, out)`.
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
        shared = x.unsqueeze(1) if self.is_row_wise else x.expand(len(weight), *x.shape)
        return stacked_linear(shared, weight, bias)


def stacked_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return each expert's linear map of its own input.

    Args:
        x: `(E, ..., in)`.
        weight: `(E, in, out)`.
        bias: `(E, out)`; None: none.

    Returns:
        `(E, ..., out)`.
    """
    rows = x.flatten(1, -2)
    if bias is None:
        product = torch.bmm(rows, weight)
    else:
        product = torch.baddbmm(bias.unsqueeze(1), rows, weight)
    return product if x.ndim == 3 else product.reshape(*x.shape[:-1], weight.shape[2])


def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Return the layer norm of `(E, ..., D)`, with each expert's own scale and shift `(E, D)`."""
    normed = F.layer_norm(x, x.shape[-1:])
    if weight is None or bias is None:
        return normed
    shape = (weight.shape[0], *[1] * (x.ndim - 2), weight.shape[1])
    return normed * weight.reshape(shape) + bias.reshape(shape)


def _show_experts(
    module: nn.Module, state: dict[str, Any], prefix: str, local_metadata: Any
) -> None:
    del local_metadata
    assert isinstance(module, StackedWeights)
    for slot in module.slots.values():
        for name, own in slot.unstack(state.pop(f"{prefix}stacked.{slot.key}")).items():
            for number in range(module.count):
                state[f"{prefix}{_PREFIX}{number}.{name}"] = own[number]


def _accept_experts(module: nn.Module, state: Mapping[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(module, StackedWeights)
    assert isinstance(state, dict)
    experts = [f"{prefix}{_PREFIX}{number}." for number in range(module.count)]
    for slot in module.slots.values():
        if all(each + name in state for each in experts for name in slot.names):
            weights = [[state.pop(each + name) for each in experts] for name in slot.names]
            state[f"{prefix}stacked.{slot.key}"] = slot.stack(weights)
