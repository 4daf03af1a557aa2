"""The flow-matching policy: a velocity field over action chunks, conditioned on observations.

Source: Lipman et al., arXiv:2210.02747; as a policy: Black et al., "pi0", arXiv:2410.24164.
"""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING, Any, ClassVar, cast

from experiments_il.flow import Solver, TimeLaw, interpolate, sample_time, velocity_target
from experiments_il.policy import ActionDecoder, ChunkSettings, FlowMatchingPolicy
from trainer_core.errors import DatasetError, UserError
from trainer_core.step import LossTrainer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor, nn

    from policy_constructor.ranges import Positive
    from trainer_core.normalize import Normalizer
    from trainer_core.protocols import Batch, StepContext

__all__ = ["NaiveFlowMatchingPolicyTrainer"]

_STATE_ENCODER = "state_encoder"
_INFO_EMBEDDER = "info_embedder"
_ACTION_DECODER = "action_decoder"
_DECODER_INTERFACE = ("cache", "step", "horizon", "action_dim")


class NaiveFlowMatchingPolicyTrainer(LossTrainer):
    """Trains a conditional flow-matching policy without a latent variable.

    Components of `models:`: `state_encoder` (state history to tokens), one backbone for each
    entry of `cameras` (image history to tokens), `info_embedder` (tokens by observation key to
    memory) and `action_decoder` (noisy chunk, time, memory to velocity; with `cache` and `step`).

    The batch holds `action_key` `(B, H, A)`, optionally `<action_key>_is_pad` `(B, H)`, and the
    observations `(B, T, ...)` or `(B, ...)`.

    Args:
        models: The components.
        optimizers: The optimizers by name.
        loss: Called as `loss(velocity, target, mask)`, for example `l2`.
        device: Where the components are.
        state_key: Observation that `state_encoder` reads; ignored without that component.
        cameras: Camera's observation key to the name of its backbone in `models:`.
        action_key: Key of the action chunks.
        time_law: Density of the training times: `beta(1,1.5)` or `uniform`.
        num_inference_steps: Time steps of sampling. 10 is usual; 1 averages the data's modes.
        solver: `euler`, `midpoint`, `heun` (2 evaluations a step) or `rk4` (4).
        n_obs_steps: Frames of an observation's history.
        n_action_steps: Actions executed before the next chunk is planned, at most H.
        action_offset: Frame of a chunk's first action relative to the current one, 0 or negative.

    Raises:
        UserError: A component is missing or does not fit, or a value is out of its range.
    """

    batch_key_parameters: ClassVar = {
        "state_key": "state_encoder",
        "cameras": None,
        "action_key": None,
    }

    def __init__(
        self,
        models: nn.ModuleDict,
        optimizers: Mapping[str, torch.optim.Optimizer],
        loss: nn.Module | None,
        device: torch.device | str,
        *,
        state_key: str = "observation.state",
        cameras: dict[str, str] | None = None,
        action_key: str = "action",
        time_law: TimeLaw = "beta(1,1.5)",
        num_inference_steps: Positive = 10,
        solver: Solver = "euler",
        n_obs_steps: Positive = 1,
        n_action_steps: Positive = 8,
        action_offset: int = 0,
    ) -> None:
        super().__init__(models, optimizers, loss, device)
        self.chunk = ChunkSettings(n_obs_steps, n_action_steps, action_offset)
        self.encoders = _find_encoders(models, state_key, cameras or {})
        self.action_key = action_key
        self.time_law: TimeLaw = time_law
        self.num_inference_steps = num_inference_steps
        self.solver: Solver = solver
        if num_inference_steps < 1:
            message = f"num_inference_steps must be at least 1, got {num_inference_steps}"
            raise UserError(message)
        _require(models, _INFO_EMBEDDER, "tokens by observation key to memory")
        _require(models, _ACTION_DECODER, "noisy chunk, time and memory to velocity")
        self.velocity_loss = _check_loss(loss)
        self.decoder = _find_decoder(models)
        self.chunk.check_horizon(self.decoder.horizon)

    def compute_losses(
        self, batch: Batch, step: StepContext
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Return the velocity loss at one random time per sample."""
        data = self._chunks(batch)
        noise = step.random.normal(*data.shape[1:], stream="flow.noise")
        t = sample_time(step.random.uniform(stream="flow.time"), self.time_law)
        velocity = self.models[_ACTION_DECODER](interpolate(noise, data, t), t, self.encode(batch))
        total = self.velocity_loss(velocity, velocity_target(noise, data), self._mask(batch))
        return total, {}

    def loss_weight(self, batch: Batch) -> Tensor | int:
        """Return the number of real actions, which the loss is a mean over."""
        mask = self._mask(batch)
        if mask is None:
            return int(self._chunks(batch).shape[0])
        return mask.sum()

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return the memory `(B, M, D)` of normalised observations.

        Raises:
            DatasetError: An observation is missing, or its shape does not fit its encoder.
        """
        missing = [key for key in self.encoders if key not in observation]
        if missing:
            message = f"the batch has no {', '.join(missing)}; it has {', '.join(observation)}"
            raise DatasetError(message)
        try:
            tokens = {
                key: self.models[name](observation[key]) for key, name in self.encoders.items()
            }
            memory: Tensor = self.models[_INFO_EMBEDDER](tokens)
        except ValueError as error:  # how the blocks refuse a shape
            raise DatasetError(str(error)) from error
        return memory

    def policy(self, normalizer: Normalizer) -> FlowMatchingPolicy:
        """Return the policy of the present weights.

        Args:
            normalizer: Statistics of the data set the policy was trained on.
        """
        return FlowMatchingPolicy(
            self.encode,
            self.decoder,
            normalizer,
            observation_keys=tuple(self.encoders),
            action_key=self.action_key,
            chunk=self.chunk,
            num_inference_steps=self.num_inference_steps,
            solver=self.solver,
        )

    def _chunks(self, batch: Batch) -> Tensor:
        data = batch.get(self.action_key)
        expected = (self.decoder.horizon, self.decoder.action_dim)
        if data is None or data.shape[1:] != expected:
            raise DatasetError(_chunk_message(batch, self.action_key, expected))
        return cast("Tensor", data)

    def _mask(self, batch: Batch) -> Tensor | None:
        pad: Tensor | None = batch.get(f"{self.action_key}_is_pad")
        return None if pad is None else ~pad


def _find_encoders(
    models: nn.ModuleDict, state_key: str, cameras: Mapping[str, str]
) -> dict[str, str]:
    """Return the component of each observation key, in the order of the memory."""
    encoders = {state_key: _STATE_ENCODER} if _STATE_ENCODER in models else {}
    for key, name in cameras.items():
        _require(models, name, f"images of '{key}' to tokens; trainer.cameras names it")
        encoders[key] = name
    if not encoders:
        message = (
            f"this policy sees nothing: models: needs '{_STATE_ENCODER}' (state history to "
            "tokens), or trainer.cameras an observation key with its backbone"
        )
        raise UserError(message)
    return encoders


def _require(models: nn.ModuleDict, name: str, role: str) -> None:
    if name not in models:
        near = difflib.get_close_matches(name, list(models), n=1)
        hint = f"; is '{near[0]}' meant to be '{name}'?" if near else ""
        message = f"models: needs a component '{name}' ({role}); it has {', '.join(models)}{hint}"
        raise UserError(message)


def _find_decoder(models: nn.ModuleDict) -> ActionDecoder:
    """Return the action decoder, without the wrapper of a distributed runner."""
    component: Any = models[_ACTION_DECODER]
    decoder = getattr(component, "module", component)
    lacking = [name for name in _DECODER_INTERFACE if not hasattr(decoder, name)]
    if lacking:
        message = (
            f"models.{_ACTION_DECODER} ({type(decoder).__name__}) has no {', '.join(lacking)}; "
            "use transformer_action_decoder, mlp_action_decoder or a block with their interface"
        )
        raise UserError(message)
    return cast("ActionDecoder", decoder)


def _check_loss(loss: nn.Module | None) -> nn.Module:
    """Return the loss if it takes a prediction, a target and a mask."""
    if loss is None:
        message = "this trainer needs a `loss:` section, for example `loss: {_type_: l2}`"
        raise UserError(message)
    try:
        inspect.signature(loss.forward).bind(None, None, None)
    except TypeError as error:
        message = (
            f"the loss {type(loss).__name__} takes no mask, and padded actions must not count; "
            "use `loss: {_type_: l2}` or a loss called as loss(prediction, target, mask)"
        )
        raise UserError(message) from error
    return loss


def _chunk_message(batch: Batch, key: str, expected: tuple[int, int]) -> str:
    if key not in batch:
        return f"the batch has no '{key}' (trainer.action_key); it has {', '.join(batch)}"
    horizon, dim = expected
    return (
        f"'{key}' has shape {tuple(batch[key].shape)}, expected (batch, {horizon}, {dim}): "
        "horizon and action_dim of models.action_decoder must fit data.windows and the data set"
    )
