"""Encoder of low-dimensional observations: joint positions, poses, simulator states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from policy_constructor.blocks.basic import MLP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_constructor.ranges import Positive

__all__ = ["StateEncoder"]


class StateEncoder(nn.Module):
    """MLP from a history of state vectors to conditioning tokens.

    The whole history goes into one MLP, oldest frame first, so that velocities are one layer away.
    No normalisation layer touches the raw state: it would remove its scale and mean.

    Args:
        state_dim: Dimensions S of one state.
        width: Width D of a token.
        n_obs_steps: Frames of the history.
        hidden: Widths of the hidden layers; empty: one linear map.
        tokens: Number of tokens to produce.
        clamp: Limit of the normalised state's absolute value. Dimensions that hardly vary in the
            demonstrations get large values on the slightest novelty; 5 keeps them harmless. None:
            no limit.
    """

    def __init__(
        self,
        state_dim: Positive,
        width: Positive = 256,
        n_obs_steps: Positive = 1,
        hidden: Sequence[int] = (256,),
        tokens: Positive = 1,
        clamp: float | None = 5.0,
    ) -> None:
        super().__init__()
        self.state_dim = state_dim
        self.n_obs_steps = n_obs_steps
        self.tokens = tokens
        self.width = width
        self.clamp = clamp
        self.mlp = MLP([n_obs_steps * state_dim, *hidden, tokens * width], activation="silu")

    def forward(self, state: Tensor) -> Tensor:
        """Return tokens `(B, tokens, width)` of normalised states.

        Args:
            state: `(B, n_obs_steps, state_dim)` oldest first, or `(B, state_dim)` for one frame.

        Raises:
            ValueError: The history or the state has another size than the block was built for.
        """
        flat = state.flatten(1)
        if flat.shape[1] != self.n_obs_steps * self.state_dim:
            message = (
                f"state has shape {tuple(state.shape)}, expected (B, {self.n_obs_steps}, "
                f"{self.state_dim}): n_obs_steps and state_dim of the state encoder decide"
            )
            raise ValueError(message)
        if self.clamp is not None:
            flat = torch.clamp(flat, -self.clamp, self.clamp)
        encoded: Tensor = self.mlp(flat)
        return encoded.reshape(-1, self.tokens, self.width)
