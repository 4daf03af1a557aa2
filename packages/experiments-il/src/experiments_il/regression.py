"""Acting with a policy that predicts its chunk directly: no noise, one evaluation of the decoder.

Shapes: B batch, T history, H chunk length, A action dimension, M memory tokens, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from experiments_il.action_queue import ChunkSettings
from experiments_il.data.relative_actions import in_data_units, with_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from experiments_il.policy import ActionDecoder
    from trainer_core.normalize import Normalizer

__all__ = ["RegressionPolicy", "predict_chunk"]


def predict_chunk(decoder: ActionDecoder, memory: Tensor) -> Tensor:
    """Return the chunk `(B, H, A)` that a decoder of flow policies predicts when used directly.

    Its noisy chunk is 0 and its time is 0, always; what it returns is the chunk instead of a
    velocity. So regression and flow matching can have one network, and be compared.

    Args:
        decoder: Called with `cache` and `step`.
        memory: `(B, M, D)`.
    """
    nothing = memory.new_zeros(memory.shape[0], decoder.horizon, decoder.action_dim)
    return decoder.step(nothing, nothing[:, 0, 0], decoder.cache(memory))


class RegressionPolicy:
    """Predicts chunks; the same observation gives the same chunk.

    Args:
        encode: Normalised observation to memory `(B, M, D)`.
        decoder: Memory to chunk, used as `predict_chunk` says.
        normalizer: Statistics of the data set.
        observation_keys: What `encode` reads.
        action_key: The key whose statistics undo the normalisation of actions.
        chunk: How chunks relate to frames.
    """

    def __init__(
        self,
        encode: Callable[[Mapping[str, Tensor]], Tensor],
        decoder: ActionDecoder,
        normalizer: Normalizer,
        *,
        observation_keys: tuple[str, ...],
        action_key: str = "action",
        chunk: ChunkSettings | None = None,
    ) -> None:
        self.encode = encode
        self.decoder = decoder
        self.normalizer = normalizer
        self.observation_keys = with_reference(normalizer, action_key, observation_keys)
        self.action_key = action_key
        self.chunk = chunk or ChunkSettings()
        self.horizon = decoder.horizon
        self.action_dim = decoder.action_dim
        self.noise_shape: tuple[int, ...] = (0,)

    @torch.no_grad()
    def act(self, observation: Mapping[str, Tensor], noise: Tensor | None = None) -> Tensor:
        """Return chunks `(B, H, A)` in the data set's units.

        Args:
            observation: Key to `(B, T, ...)` on the models' device, oldest frame first, in the
                data set's units.
            noise: Not used.
        """
        del noise
        known = {key: observation[key] for key in self.observation_keys}
        chunk = predict_chunk(self.decoder, self.encode(self.normalizer.normalize(known)))
        return in_data_units(self.normalizer, self.action_key, chunk, known)
