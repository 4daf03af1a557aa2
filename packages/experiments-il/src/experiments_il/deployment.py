"""A policy's whole `act` as one module: what `trainer ckpt export --format onnx|pt2` writes.

Shapes: B batch, T history, H chunk length, A action dimension.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from experiments_il.frames import frame_shape
from trainer_core.errors import UserError
from trainer_core.protocols import Exportable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from experiments_il.policy import Policy
    from trainer_core.normalize import Normalizer

__all__ = ["CHUNK_OUTPUT", "NOISE_INPUT", "make_exportable"]

NOISE_INPUT = "noise"
CHUNK_OUTPUT = "actions"
_KIND = "action_chunk"


class _Act(nn.Module):
    """Observations by position, and noise -> chunks."""

    def __init__(
        self, policy: Policy, models: nn.ModuleDict, normalizer: Normalizer, *, is_noisy: bool
    ) -> None:
        super().__init__()
        self.models = models  # the policy holds parts of it; here they are found and traced
        self.normalizer = normalizer
        self.keys = policy.observation_keys
        self.is_noisy = is_noisy
        self._act = policy.act

    def forward(self, *values: Tensor) -> Tensor:
        """Return chunks `(B, H, A)` in the data set's units."""
        observation = dict(zip(self.keys, values, strict=False))
        return self._act(observation, values[-1] if self.is_noisy else None)


def make_exportable(
    policy: Policy, models: nn.ModuleDict, normalizer: Normalizer, batch: Mapping[str, Any]
) -> Exportable:
    """Return what is exported of a policy.

    Inputs are the policy's observations `(B, T, ...)` and, where it samples, `noise`
    `(B, *noise_shape)`; the output is `actions` `(B, H, A)`.

    Args:
        policy: The policy.
        models: Its components.
        normalizer: Statistics of the data set.
        batch: Example observations `(B, ...)` or `(B, T, ...)`, in the data set's units.

    Raises:
        UserError: An observation is not in the batch.
    """
    frames = policy.chunk.n_obs_steps
    inputs, units = {}, {CHUNK_OUTPUT: "as in the data set"}
    for key in policy.observation_keys:
        if key not in batch:
            msg = (
                f"the checkpoint does not tell the shape of '{key}': its data set has no "
                "'features' with that key, or an earlier version saved it; go on training for a "
                "step to have it saved again"
            )
            raise UserError(msg)
        value = batch[key]
        shape = (len(value), frames, *frame_shape(value.shape[1:], frames))
        inputs[key] = value if value.shape == shape else value.unsqueeze(1).expand(shape)
        units[key] = "pixels 0 to 255, channels first" if _is_bytes(value) else "as in the data set"
    is_noisy = math.prod(policy.noise_shape) > 0
    if is_noisy:
        count = len(next(iter(inputs.values())))
        inputs[NOISE_INPUT] = torch.randn(count, *policy.noise_shape)
        units[NOISE_INPUT] = "standard normal"
    inputs = {key: value.contiguous() for key, value in inputs.items()}
    module = _Act(policy, models, normalizer, is_noisy=is_noisy)
    return Exportable(module, inputs, (CHUNK_OUTPUT,), units, _about(policy))


def _about(policy: Policy) -> dict[str, Any]:
    return {
        "kind": _KIND,
        "observation_keys": list(policy.observation_keys),
        "n_obs_steps": policy.chunk.n_obs_steps,
        "n_action_steps": policy.chunk.n_action_steps,
        "action_offset": policy.chunk.action_offset,
        "horizon": policy.horizon,
        "action_dim": policy.action_dim,
        "noise_shape": list(policy.noise_shape),
    }


def _is_bytes(value: Tensor) -> bool:
    return value.dtype == torch.uint8
