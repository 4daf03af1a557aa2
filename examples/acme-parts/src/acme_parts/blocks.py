"""A gated perceptron as a model block: `{_type_: gated_mlp, features: 4, width: 8, out: 1}`."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["GatedMLP"]


class GatedMLP(nn.Module):
    """One hidden layer whose units are switched by a second projection of the input.

    Args:
        features: Features of the input.
        width: Hidden units.
        out: Features of the output.
        dropout: Probability of dropping a hidden unit while training.

    Source: GLU Variants Improve Transformer (Shazeer, 2020), equation 6 (SwiGLU).
    """

    def __init__(self, features: int, width: int, out: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.value = nn.Linear(features, width)
        self.gate = nn.Linear(features, width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, ..., features)` to `(B, ..., out)`."""
        hidden = nn.functional.silu(self.gate(x)) * self.value(x)
        y: Tensor = self.output(self.dropout(hidden))
        return y
