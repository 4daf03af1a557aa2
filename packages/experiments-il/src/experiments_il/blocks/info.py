"""Joins the tokens of all observations to the memory that an action decoder attends to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from policy_constructor.blocks.transformer import TransformerEncoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from policy_constructor.ranges import Count, Fraction, Positive

__all__ = ["InfoEmbedder"]


class InfoEmbedder(nn.Module):
    """Concatenates tokens of named observations, each marked by a learned embedding of its source.

    The source embedding says which camera or sensor a token comes from; adding a sensor leaves
    the tokens of the others as they were.

    Args:
        sources: Observation key to width of its tokens, in the order of the memory.
        width: Width D of the memory.
        norm: Normalise the memory's tokens at the end.
        hidden: Project with two layers and a norm instead of one layer.
        layers: Transformer layers in which the tokens see one another; 0: none.
        heads: Their attention heads; must divide `width`.
        feedforward: Hidden width of their MLPs; null: `4 * width`.
        dropout: Dropped share of their residual branches; 0 to 0.1.
        droppable: Sources that have a learned token for when they are missing.

    Raises:
        ValueError: A droppable source is no source.
    """

    def __init__(
        self,
        sources: Mapping[str, Positive],
        width: Positive = 256,
        norm: bool = False,
        hidden: bool = False,
        layers: Count = 0,
        heads: Positive = 8,
        feedforward: Positive | None = None,
        dropout: Fraction = 0.0,
        droppable: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.sources = tuple(sources)
        self.droppable = tuple(droppable)
        unknown = [name for name in droppable if name not in sources]
        if unknown:
            message = f"droppable names {unknown}, but the sources are {sorted(sources)}"
            raise ValueError(message)
        self.projections = nn.ModuleList(
            _projection(source_width, width, hidden) for source_width in sources.values()
        )
        self.missing: nn.Parameter | None = None
        if droppable:
            self.missing = nn.Parameter(torch.randn(len(droppable), width) * 0.02)
        self.encoder: nn.Module = nn.Identity()
        if layers:
            self.encoder = TransformerEncoder(width, heads, layers, feedforward, dropout)
        self.source_embedding = nn.Parameter(torch.randn(len(self.sources), width) * 0.02)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()

    def forward(
        self, tokens: dict[str, Tensor], missing: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return the memory `(B, M, width)`.

        Args:
            tokens: Source to `(B, tokens, source width)`; M is the sum of the token counts.
            missing: Droppable source to bool `(B,)`, True where its tokens are replaced.

        Raises:
            ValueError: The names are not those of `sources`, or one is missing that may not.
        """
        if set(tokens) != set(self.sources):
            message = (
                f"got tokens of {sorted(tokens)}, but the info embedder's sources are "
                f"{sorted(self.sources)}"
            )
            raise ValueError(message)
        parts = [
            self._replace(name, project(tokens[name]), missing or {}) + self.source_embedding[index]
            for index, (name, project) in enumerate(
                zip(self.sources, self.projections, strict=True)
            )
        ]
        memory: Tensor = self.norm(self.encoder(torch.cat(parts, dim=1)))
        return memory

    def _replace(self, name: str, tokens: Tensor, missing: Mapping[str, Tensor]) -> Tensor:
        if name not in missing:
            return tokens
        if self.missing is None or name not in self.droppable:
            message = (
                f"the tokens of '{name}' may not be missing: droppable of the embedder decides"
            )
            raise ValueError(message)
        stand_in = self.missing[self.droppable.index(name)].to(tokens.dtype)
        return torch.where(missing[name][:, None, None], stand_in, tokens)


def _projection(before: int, width: int, hidden: bool) -> nn.Module:
    """Return the map of a source's tokens; there is one also where the widths are equal."""
    if not hidden:
        return nn.Linear(before, width)
    return nn.Sequential(
        nn.Linear(before, width), nn.SiLU(), nn.Linear(width, width), nn.LayerNorm(width)
    )
