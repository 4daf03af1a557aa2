"""The regression policy: observations to a chunk of actions, the baseline of all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments_il.regression import RegressionPolicy, predict_chunk
from experiments_il.sample_losses import tell_chunk_losses
from experiments_il.trainers.chunk_policy import ChunkPolicyTrainer, check_chunk_loss

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import Tensor, nn

    from experiments_il.action_queue import Execution
    from experiments_il.augment import Augmentation
    from policy_constructor.ranges import Fraction, Positive
    from trainer_core.normalize import Normalizer
    from trainer_core.protocols import Batch, StepContext

__all__ = ["RegressionPolicyTrainer"]


class RegressionPolicyTrainer(ChunkPolicyTrainer):
    """Trains a policy that predicts the chunk itself: behaviour cloning by regression.

    The components are those of `naive_flow_matching_policy_trainer`, the decoder included, so
    that a comparison has one network; its noisy chunk and its time are 0 here. The policy is
    deterministic. Where the demonstrations go several ways it predicts their mean (`l2`) or median
    (`l1`), which may be none of them; where they go one way it is hard to beat.

    Args:
        models: The components.
        optimizers: The optimizers by name.
        loss: Called as `loss(chunk, demonstrated, mask)`: `l2` or `l1`.
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
        n_obs_steps: Positive = 1,
        n_action_steps: Positive = 8,
        action_offset: int = 0,
        execution: Execution = "receding_horizon",
        ensembling_coefficient: float = 0.01,
    ) -> None:
        super().__init__(
            models,
            optimizers,
            loss,
            device,
            state_key=state_key,
            cameras=cameras,
            depth_models=depth_models,
            camera_drop=camera_drop,
            augment=augment,
            action_key=action_key,
            n_obs_steps=n_obs_steps,
            n_action_steps=n_action_steps,
            action_offset=action_offset,
            execution=execution,
            ensembling_coefficient=ensembling_coefficient,
        )
        self.chunk_loss = check_chunk_loss(loss)

    def compute_losses(
        self, batch: Batch, step: StepContext
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Return the loss between predicted and demonstrated chunks."""
        demonstrated, mask = self.chunks(batch), self.mask(batch)
        predicted = predict_chunk(self.decoder, self.encode(batch, step))
        tell_chunk_losses(step, self.chunk_loss, predicted, demonstrated, mask)
        return self.chunk_loss(predicted, demonstrated, mask), {}

    def loss_weight(self, batch: Batch) -> Tensor | int:
        """Return the number of real actions, which the loss is a mean over."""
        mask = self.mask(batch)
        if mask is None:
            return int(self.chunks(batch).shape[0])
        return mask.sum()

    def policy(self, normalizer: Normalizer) -> RegressionPolicy:  # type: ignore[override] # it integrates nothing
        """Return the policy of the present weights.

        Args:
            normalizer: Statistics of the data set the policy was trained on.
        """
        return RegressionPolicy(
            self.encode,
            self.decoder,
            normalizer,
            observation_keys=self.observation_keys,
            action_key=self.action_key,
            chunk=self.chunk,
        )
