"""Multi-layer perceptron, convolution and residual block: the small change of most networks.

Shapes: B batch, C channels, H height, W width, D width of a feature vector.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal, TypeAlias

from torch import nn

from policy_constructor.blocks.checks import check_fraction, check_positive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["MLP", "Activation", "ActivationName", "ConvBnAct", "ResidualBlock", "build_activation"]

ActivationName: TypeAlias = Literal["relu", "gelu", "silu", "tanh", "elu", "leaky_relu", "mish"]

Activation: TypeAlias = ActivationName | nn.Module

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "mish": nn.Mish,
}


def build_activation(activation: Activation | None) -> nn.Module:
    """Return a fresh activation module.

    Args:
        activation: A name, a module (copied, so that two layers never share its parameters) or
            None for the identity.

    Raises:
        ValueError: The name is unknown; the known names are listed.
    """
    if activation is None:
        return nn.Identity()
    if isinstance(activation, nn.Module):
        return copy.deepcopy(activation)
    if activation not in _ACTIVATIONS:
        msg = f"activation must be one of {', '.join(_ACTIVATIONS)} or a module, got {activation!r}"
        raise ValueError(msg)
    return _ACTIVATIONS[activation]()


class MLP(nn.Module):
    """A stack of linear layers with an activation between them.

    Each hidden layer is linear, norm, activation, dropout; the last one is linear and, if asked
    for, `final_activation`. Input `(..., dims[0])`, output `(..., dims[-1])`; with
    `norm="batch"` the input is `(B, dims[0])`.

    Args:
        dims: Width of the input, of each hidden layer and of the output. A first width of `null`
            is found from the first input.
        activation: After each hidden layer.
        dropout: Probability of zeroing a hidden value; usual 0 to 0.2.
        bias: Whether linear layers have a bias.
        final_activation: After the last layer; none by default.
        norm: `layer` or `batch`, between a hidden layer and its activation; none by default.

    Raises:
        ValueError: Fewer than two widths, a width below 1, a null width that is not the first,
            dropout outside [0, 1), an unknown activation or norm.
    """

    def __init__(
        self,
        dims: Sequence[int | None],
        activation: Activation | None = "relu",
        dropout: float = 0.0,
        bias: bool = True,
        final_activation: Activation | None = None,
        norm: Literal["layer", "batch"] | None = None,
    ) -> None:
        super().__init__()
        widths = _check_widths(dims)
        check_fraction(dropout=dropout)
        layers: list[nn.Module] = []
        for index, width in enumerate(widths):
            layers.append(_linear(dims[index], width, bias=bias))
            if index == len(widths) - 1:
                break
            if norm is not None:
                layers.append(_norm_1d(norm, width))
            layers.append(build_activation(activation))
            if dropout:
                layers.append(nn.Dropout(dropout))
        if final_activation is not None:
            layers.append(build_activation(final_activation))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., dims[0])` to `(..., dims[-1])`."""
        out: Tensor = self.layers(x)
        return out


class ConvBnAct(nn.Module):
    """A 2-d convolution, a normalisation and an activation.

    Input `(B, in_channels, H, W)`, output `(B, out_channels, H', W')` with H' and W' as in
    `torch.nn.Conv2d`.

    Args:
        in_channels: Channels of the input; `null` finds them from the first input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel, or (height, width).
        stride: Step of the kernel.
        padding: Zeros around the input, or `same` (stride 1 only).
        dilation: Spacing of the kernel's points.
        groups: Independent groups of channels; divides both channel counts.
        bias: Whether the convolution has a bias; by default only when there is no norm.
        norm: `batch`, a module over `out_channels`, or null for none.
        act: A name, a module, or null for none.

    Raises:
        ValueError: A size below 1, groups that do not divide the channels, an unknown
            activation or norm.
    """

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool | None = None,
        norm: Literal["batch"] | nn.Module | None = "batch",
        act: Activation | None = "relu",
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, out_channels=out_channels, groups=groups)
        self.conv = _conv(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=norm is None if bias is None else bias,
        )
        self.norm = _norm_2d(norm, out_channels)
        self.act = build_activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, in_channels, H, W)` to `(B, out_channels, H', W')`."""
        out: Tensor = self.act(self.norm(self.conv(x)))
        return out


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection (the basic block of a ResNet).

    Input `(B, in_channels, H, W)`, output `(B, out_channels, H / stride, W / stride)`, rounded up.
    The skip is the identity where shapes allow it, else a 1x1 convolution with batch norm.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output; by default those of the input.
        stride: Step of the first convolution; 2 halves height and width.
        act: Activation after the first convolution and after the sum.

    Raises:
        ValueError: A size below 1 or an unknown activation.

    Source: He et al., Deep Residual Learning for Image Recognition, arXiv:1512.03385, figure 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        stride: int = 1,
        act: Activation | None = "relu",
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, out_channels=out_channels, stride=stride)
        width = in_channels if out_channels is None else out_channels
        self.main = nn.Sequential(
            ConvBnAct(in_channels, width, 3, stride=stride, padding=1, act=act),
            ConvBnAct(width, width, 3, padding=1, act=None),
        )
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or width != in_channels:
            self.skip = ConvBnAct(in_channels, width, 1, stride=stride, act=None)
        self.act = build_activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, in_channels, H, W)` to `(B, out_channels, H / stride, W / stride)`."""
        out: Tensor = self.act(self.main(x) + self.skip(x))
        return out


def _check_widths(dims: Sequence[int | None]) -> list[int]:
    if len(dims) < 2:
        msg = f"dims must list at least an input and an output width, got {list(dims)!r}"
        raise ValueError(msg)
    widths = [width for width in dims[1:] if width is not None]
    if len(widths) != len(dims) - 1:
        msg = f"only the first of dims may be null, got {list(dims)!r}"
        raise ValueError(msg)
    check_positive(**{f"dims[{index}]": width for index, width in enumerate(dims)})
    return widths


def _linear(in_features: int | None, out_features: int, *, bias: bool) -> nn.Module:
    if in_features is None:
        return nn.LazyLinear(out_features, bias=bias)
    return nn.Linear(in_features, out_features, bias=bias)


def _norm_1d(norm: str, width: int) -> nn.Module:
    if norm == "layer":
        return nn.LayerNorm(width)
    if norm == "batch":
        return nn.BatchNorm1d(width)
    msg = f"norm must be 'layer', 'batch' or null, got {norm!r}"
    raise ValueError(msg)


def _norm_2d(norm: str | nn.Module | None, channels: int) -> nn.Module:
    if norm is None:
        return nn.Identity()
    if isinstance(norm, nn.Module):
        return norm
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    msg = f"norm must be 'batch', a module or null, got {norm!r}"
    raise ValueError(msg)


def _conv(
    in_channels: int | None,
    out_channels: int,
    kernel_size: int | tuple[int, int],
    *,
    stride: int | tuple[int, int],
    padding: int | tuple[int, int] | str,
    dilation: int | tuple[int, int],
    groups: int,
    bias: bool,
) -> nn.Module:
    if in_channels is None:
        return nn.LazyConv2d(
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,  # type: ignore[arg-type] # LazyConv2d passes a string on as Conv2d does
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=bias,
    )
