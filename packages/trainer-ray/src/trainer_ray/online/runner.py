"""The runner `ray_online`. Imports neither Ray nor torch until a run starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from trainer_ray.cluster import import_ray
from trainer_ray.online.options import Options

if TYPE_CHECKING:
    from annotated_types import Ge, Gt, Le

    from policy_constructor.ranges import Count, NonNegative, Positive, PositiveNumber
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.results import RunResult

__all__ = ["RayOnlineRunner"]


class RayOnlineRunner:
    """Trains on a data set and on the policy's own episodes together, while these are played.

    This process is the learner: it trains as the runner `local` does, and a part of each batch
    comes from a replay buffer that rollout workers of a Ray cluster fill. They play what the
    `evaluation:` section describes, with the newest weights. The buffer is kept in
    `<run.out_dir>/replay`; a run that goes on has its episodes.

    Args:
        rollout_workers: Processes that play, one CPU each.
        rollout: Keys of `evaluation:` that are other for rollouts, such as `max_steps`. Without a
            `seed` there they play the evaluation's seed plus 1,000,000: never its episodes.
        online_share: Share of each batch that comes from the replay buffer. Higher: faster to use
            what the policy finds, and further from the demonstrations; 0.25 to 0.75 usually.
        offline_steps: Steps on the data set alone before the rollout workers are started. They
            are those of the runner `local`, bit for bit.
        min_frames: Frames in the buffer before the first batch with a part of them.
        fill_timeout_s: How long to wait for these, in seconds.
        capacity: Frames that the buffer holds; the oldest episodes make room for new ones.
        keep: `successes`: episodes that solve the task; `all` of them.
        sampling: `uniform`: each frame is as likely; `prioritized`: by the loss that it had when
            it was trained on last, if the trainer tells losses of samples; before that, by the
            priority that its sender gave it, or the largest so far.
        priority_exponent: How much priorities matter: 0 not at all, 1 in proportion.
        publish_every: Steps between two publications of the weights. Fewer: rollouts with a newer
            policy; each costs a copy of the weights.
        acting_weights: What rollouts act with: the `trained` weights as they are, or the `averaged`
            ones of `cb.ema` or of an optimizer that averages, where there are any.
        prefetch: Samples of the buffer that are on their way while a step is computed; at least 2.
        target_success: End the run when an evaluation's `success_rate` is at least this; it needs
            `evaluation.every`. None: train to the last step.
        replay_buffer: Name of the buffer's actor. One that exists in the cluster is joined.
        policy_state_manager: Name of the actor that holds the newest weights; likewise.
        address: A running cluster: `auto`, `host:port` or `ray://host:port`. Empty: a new one on
            this machine, which ends with the run.
        connect_timeout_s: How long to wait for the cluster, in seconds.
        runtime_env: Ray's description of what the workers need on their machines: environment
            variables, packages.
    """

    laid_over: ClassVar = {"rollout": "evaluation"}
    parameter_check: ClassVar = "trainer_ray.online.file_checks:check"

    def __init__(
        self,
        *,
        rollout_workers: Positive = 1,
        rollout: dict[str, Any] | None = None,
        online_share: Annotated[float, Gt(0), Le(1)] = 0.5,
        offline_steps: Count = 0,
        min_frames: Positive = 1000,
        fill_timeout_s: PositiveNumber = 600.0,
        capacity: Positive = 1_000_000,
        keep: Literal["successes", "all"] = "successes",
        sampling: Literal["uniform", "prioritized"] = "uniform",
        priority_exponent: NonNegative = 0.6,
        publish_every: Positive = 50,
        acting_weights: Literal["trained", "averaged"] = "trained",
        prefetch: Annotated[int, Ge(2), Le(1000)] = 2,
        target_success: Annotated[float, Gt(0), Le(1)] | None = None,
        replay_buffer: str = "replay_buffer",
        policy_state_manager: str = "policy_state_manager",
        address: str = "",
        connect_timeout_s: PositiveNumber = 60.0,
        runtime_env: dict[str, Any] | None = None,
    ) -> None:
        self.options = Options(
            rollout_workers=rollout_workers,
            rollout=dict(rollout or {}),
            online_share=online_share,
            offline_steps=offline_steps,
            min_frames=min_frames,
            fill_timeout_s=fill_timeout_s,
            capacity=capacity,
            keep=keep,
            sampling=sampling,
            priority_exponent=priority_exponent,
            publish_every=publish_every,
            acting_weights=acting_weights,
            prefetch=prefetch,
            target_success=target_success,
            replay_buffer=replay_buffer,
            policy_state_manager=policy_state_manager,
            address=address,
            connect_timeout_s=connect_timeout_s,
            runtime_env=dict(runtime_env or {}),
        )

    def run(self, experiment: LoadedExperiment) -> RunResult:
        """Train, with rollout workers beside; a dry run stops before any of them is started.

        Raises:
            ConfigError: Something in the file cannot be had or does not fit.
            UserError: An option is out of its range, or no cluster can hold the workers, or
                another run learns from the buffer.
            MissingPackageError: Ray is not installed.
            TrainerError: The run failed.
        """
        self.options.require_valid()
        import_ray(need=self.options.runner, with_train=False)
        from trainer_ray.online.learner import learn  # noqa: PLC0415 - imported when a run starts

        return learn(experiment, self.options)
