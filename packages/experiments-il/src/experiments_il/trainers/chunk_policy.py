"""What trainers of chunk policies have in common: components, observations, chunks, masks."""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch

from experiments_il.action_queue import ChunkSettings, Execution
from experiments_il.augment import CameraAugmentation
from experiments_il.deployment import make_exportable
from experiments_il.flow import Solver, TimeLaw, interpolate, sample_time
from experiments_il.policy import Condition, FlowMatchingPolicy
from trainer_core.errors import DatasetError, UserError
from trainer_core.step import LossTrainer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from experiments_il.augment import Augmentation
    from policy_constructor.ranges import Fraction, Positive
    from trainer_core.normalize import Normalizer
    from trainer_core.protocols import Batch, Exportable, StepContext

__all__ = ["ACTION_DECODER", "ChunkPolicyTrainer", "check_chunk_loss", "require"]

_STATE_ENCODER = "state_encoder"
_INFO_EMBEDDER = "info_embedder"
ACTION_DECODER = "action_decoder"
_DECODER_INTERFACE = ("cache", "step", "horizon", "action_dim")


class ChunkPolicyTrainer(LossTrainer):
    """The part of a flow-matching trainer that is not its loss.

    Components of `models:`: `state_encoder` (state history to tokens), one backbone for each
    entry of `cameras` (image history to tokens), one frozen model for each entry of `depth_models`
    (image history to tokens), `info_embedder` (tokens by observation key to memory) and
    `action_decoder` (noisy chunk, time, memory to velocity; with `cache` and `step`).

    The batch holds `action_key` `(B, H, A)`, optionally `<action_key>_is_pad` `(B, H)`, and the
    observations `(B, T, ...)` or `(B, ...)`.

    Args:
        models: The components.
        optimizers: The optimizers by name.
        loss: The loss of the `loss:` section.
        device: Where the components are.
        state_key: Observation that `state_encoder` reads; ignored without that component.
        cameras: Camera's observation key to the name of its backbone in `models:`.
        depth_models: Camera's observation key to a frozen component; its tokens are the source
            `<camera>.depth` of the info embedder.
        camera_drop: Probability with which one camera of a sample is replaced by a learned token
            while training; needs `droppable` of the info embedder.
        augment: Changes of the cameras' images while training, in order, each a component such as
            `{_type_: random_shift}`; a mapping has one or several for each of some cameras.
        action_key: Key of the action chunks.
        time_law: Density of the training times: `beta(1,1.5)` or `uniform`.
        num_inference_steps: Time steps of sampling. 10 is usual; 1 averages the data's modes.
        solver: `euler`, `midpoint`, `heun` (2 evaluations a step) or `rk4` (4).
        n_obs_steps: Frames of an observation's history.
        n_action_steps: Actions executed before the next chunk is planned, at most H.
        action_offset: Frame of a chunk's first action relative to the current one, 0 or negative.
        execution: How chunks become actions: `receding_horizon`, or `temporal_ensembling`, which
            plans at every step and averages what all chunks say about it.
        ensembling_coefficient: c of the weights `exp(-c i)` of that average, i = 0 for the oldest
            chunk. Larger: smoother and slower to react; 0: all alike; 0.01 is usual.

    Raises:
        UserError: A component is missing or does not fit, or a value is out of its range.
    """

    batch_key_parameters: ClassVar = {
        "state_key": "state_encoder",
        "cameras": None,
        "depth_models": None,
        "action_key": None,
    }
    parameter_check: ClassVar = "experiments_il.trainers.chunk_check:check"

    def __init__(
        self,
        models: nn.ModuleDict,
        optimizers: Mapping[str, torch.optim.Optimizer],
        loss: nn.Module | None,
        device: torch.device | str,
        *,
        state_key: str = "observation.state",
        cameras: dict[str, str] | None = None,
        depth_models: dict[str, str] | None = None,
        camera_drop: Fraction = 0.0,
        augment: Augmentation | Sequence[Augmentation] | Mapping[str, Any] | None = None,
        action_key: str = "action",
        time_law: TimeLaw = "beta(1,1.5)",
        num_inference_steps: Positive = 10,
        solver: Solver = "euler",
        n_obs_steps: Positive = 1,
        n_action_steps: Positive = 8,
        action_offset: int = 0,
        execution: Execution = "receding_horizon",
        ensembling_coefficient: float = 0.01,
    ) -> None:
        super().__init__(models, optimizers, loss, device)
        self.chunk = ChunkSettings(
            n_obs_steps, n_action_steps, action_offset, execution, ensembling_coefficient
        )
        self.encoders = _find_encoders(models, state_key, cameras or {})
        self.depth_models = _find_depth_models(models, depth_models or {}, optimizers)
        self.cameras = tuple(cameras or {})
        self.camera_drop = camera_drop
        self.augmentation = CameraAugmentation(self.cameras, augment)
        self.state_key = state_key
        self.action_key = action_key
        self.time_law: TimeLaw = time_law
        self.num_inference_steps = num_inference_steps
        self.solver: Solver = solver
        if num_inference_steps < 1:
            message = f"num_inference_steps must be at least 1, got {num_inference_steps}"
            raise UserError(message)
        if camera_drop and not self.cameras:
            message = "camera_drop needs trainer.cameras: there is no camera to drop"
            raise UserError(message)
        require(models, _INFO_EMBEDDER, "tokens by observation key to memory")
        require(models, ACTION_DECODER, "noisy chunk, time and memory to velocity")
        self.decoder: Any = _find_decoder(models)
        self.chunk.check_horizon(self.decoder.horizon)

    def draw(self, data: Tensor, step: StepContext) -> tuple[Tensor, Tensor, Tensor]:
        """Return a point of each chunk's path, its noise and its time.

        Args:
            data: Chunks `(B, H, A)`.
            step: Whose random numbers decide.
        """
        noise = step.random.normal(*data.shape[1:], stream="flow.noise").to(data.dtype)
        t = sample_time(step.random.uniform(stream="flow.time"), self.time_law)
        return interpolate(noise, data, t), noise, t

    def encode(self, observation: Mapping[str, Tensor], step: StepContext | None = None) -> Tensor:
        """Return the memory `(B, M, D)` of normalised observations.

        Args:
            observation: Key to `(B, T, ...)` or `(B, ...)`.
            step: A training step, which augments images and may drop cameras; None: acting.

        Raises:
            DatasetError: An observation is missing, or its shape does not fit its encoder.
        """
        missing = [key for key in self.observation_keys if key not in observation]
        if missing:
            message = f"the batch has no {', '.join(missing)}; it has {', '.join(observation)}"
            raise DatasetError(message)
        embedder = self.models[_INFO_EMBEDDER]
        try:
            observation = self.augmentation(observation, step)
            tokens = {
                key: self.models[name](observation[key]) for key, name in self.encoders.items()
            }
            tokens |= self._depth_tokens(observation)
            dropped = self._drop_cameras(step)
            memory: Tensor = embedder(tokens) if dropped is None else embedder(tokens, dropped)
        except ValueError as error:  # how the blocks refuse a shape
            raise DatasetError(str(error)) from error
        return memory

    @property
    def observation_keys(self) -> tuple[str, ...]:
        """The observations that `encode` reads."""
        return tuple(dict.fromkeys([*self.encoders, *self.depth_models]))

    def policy(self, normalizer: Normalizer) -> FlowMatchingPolicy:
        """Return the policy of the present weights.

        Args:
            normalizer: Statistics of the data set the policy was trained on.
        """
        return FlowMatchingPolicy(
            self.encode,
            self.decoder,
            normalizer,
            observation_keys=self.observation_keys,
            action_key=self.action_key,
            chunk=self.chunk,
            num_inference_steps=self.num_inference_steps,
            solver=self.solver,
            condition=self.condition(),
        )

    def exportable(self, normalizer: Normalizer, batch: Batch) -> Exportable:
        """Return the policy's whole `act`, to be exported as one program.

        Args:
            normalizer: Statistics of the data set.
            batch: Example observations in the data set's units.

        Raises:
            UserError: An observation is not in the batch.
        """
        return make_exportable(self.policy(normalizer), self.models, normalizer, batch)

    def condition(self) -> Condition | None:
        """Return what the policy's velocity field depends on besides the memory; None: nothing."""
        return None

    def chunks(self, batch: Batch) -> Tensor:
        """Return the action chunks `(B, H, A)` of a batch.

        Raises:
            DatasetError: There are none, or they do not fit the decoder.
        """
        data = batch.get(self.action_key)
        expected = (self.decoder.horizon, self.decoder.action_dim)
        if data is None or data.shape[1:] != expected:
            raise DatasetError(_chunk_message(batch, self.action_key, expected))
        return cast("Tensor", data)

    def mask(self, batch: Batch) -> Tensor | None:
        """Return which actions are real, bool `(B, H)`; None: all."""
        pad: Tensor | None = batch.get(f"{self.action_key}_is_pad")
        return None if pad is None else ~pad

    def _depth_tokens(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        tokens = {}
        for key, name in self.depth_models.items():
            model = self.models[name].eval()  # the loop puts all components into training mode
            with torch.no_grad():
                tokens[f"{key}.depth"] = model(observation[key])
        return tokens

    def _drop_cameras(self, step: StepContext | None) -> dict[str, Tensor] | None:
        """Return which samples lose each camera, bool `(B,)`; None: nothing is dropped."""
        if step is None or not step.training or not self.camera_drop:
            return None
        is_hit = step.random.bernoulli(self.camera_drop, stream="camera.drop")
        which = step.random.integers(len(self.cameras), stream="camera.which")
        return {key: is_hit & (which == number) for number, key in enumerate(self.cameras)}


def _find_encoders(
    models: nn.ModuleDict, state_key: str, cameras: Mapping[str, str]
) -> dict[str, str]:
    """Return the component of each observation key, in the order of the memory."""
    encoders = {state_key: _STATE_ENCODER} if _STATE_ENCODER in models else {}
    for key, name in cameras.items():
        require(models, name, f"images of '{key}' to tokens; trainer.cameras names it")
        encoders[key] = name
    if not encoders:
        message = (
            f"this policy sees nothing: models: needs '{_STATE_ENCODER}' (state history to "
            "tokens), or trainer.cameras an observation key with its backbone"
        )
        raise UserError(message)
    return encoders


def _find_depth_models(
    models: nn.ModuleDict,
    names: Mapping[str, str],
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> dict[str, str]:
    groups = [group for optimizer in optimizers.values() for group in optimizer.param_groups]
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    for key, name in names.items():
        require(models, name, f"images of '{key}' to tokens; trainer.depth_models names it")
        if any(id(parameter) in trained for parameter in models[name].parameters()):
            message = f"the depth model must not be trained: set models.{name}.freeze to true"
            raise UserError(message)
    return dict(names)


def require(models: nn.ModuleDict, name: str, role: str) -> None:
    """Check that there is a component of this name.

    Raises:
        UserError: There is none; the message says what it is for.
    """
    if name not in models:
        near = difflib.get_close_matches(name, list(models), n=1)
        hint = f"; is '{near[0]}' meant to be '{name}'?" if near else ""
        message = f"models: needs a component '{name}' ({role}); it has {', '.join(models)}{hint}"
        raise UserError(message)


def _find_decoder(models: nn.ModuleDict) -> Any:
    """Return the action decoder."""
    decoder: Any = models[ACTION_DECODER]
    lacking = [name for name in _DECODER_INTERFACE if not hasattr(decoder, name)]
    if lacking:
        message = (
            f"models.{ACTION_DECODER} ({type(decoder).__name__}) has no {', '.join(lacking)}; "
            "use transformer_action_decoder, mlp_action_decoder or a block with their interface"
        )
        raise UserError(message)
    return decoder


def check_chunk_loss(loss: nn.Module | None) -> nn.Module:
    """Return the loss if it takes a prediction, a target and a mask.

    Raises:
        UserError: There is none, or it does not.
    """
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
