"""Joins the tokens of all observations to the memory that an action decoder attends to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy_constructor.ranges import Positive

__all__ = ["InfoEmbedder"]


class InfoEmbedder(nn.Module):
    """Concatenates tokens of named observations, each marked by a learned embedding of its source.

    The source embedding says which camera or sensor a token comes from; adding a sensor leaves
    the tokens of the others as they were.

    Args:
        sources: Observation key to width of its tokens, in the order of the memory.
        width: Width D of the memory.
        norm: Normalise the memory's tokens at the end.
    """

    def __init__(
        self, sources: Mapping[str, Positive], width: Positive = 256, norm: bool = False
    ) -> None:
        super().__init__()
        self.sources = tuple(sources)
        self.projections = nn.ModuleList(
            nn.Linear(source_width, width) for source_width in sources.values()
        )
        self.source_embedding = nn.Parameter(torch.randn(len(self.sources), width) * 0.02)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()

    def forward(self, tokens: dict[str, Tensor]) -> Tensor:
        """Return the memory `(B, M, width)`.

        Args:
            tokens: Source to `(B, tokens, source width)`; M is the sum of the token counts.

        Raises:
            ValueError: The names are not those of `sources`.
        """
        if set(tokens) != set(self.sources):
            message = (
                f"got tokens of {sorted(tokens)}, but the info embedder's sources are "
                f"{sorted(self.sources)}"
            )
            raise ValueError(message)
        parts = [
            project(tokens[name]) + self.source_embedding[index]
            for index, (name, project) in enumerate(
                zip(self.sources, self.projections, strict=True)
            )
        ]
        memory: Tensor = self.norm(torch.cat(parts, dim=1))
        return memory
