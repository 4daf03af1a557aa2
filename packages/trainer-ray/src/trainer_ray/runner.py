"""The runner `ray`. Imports neither Ray nor torch until a run starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from trainer_ray.cluster import import_ray
from trainer_ray.options import Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_constructor.ranges import Count, Positive, PositiveNumber
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.protocols import SweepReport
    from trainer_core.results import RunResult

__all__ = ["RayRunner"]


class RayRunner:
    """Trains in the workers of a Ray cluster, through Ray Train.

    The workers run the same loop as the other runners: results are those of `local` at the same
    `data.batch_size`, which is the global one. `run.out_dir` has to be a folder that all machines
    see, unless there is a `storage`. Checkpoints there, not Ray's, are what a run goes on from.

    Args:
        num_workers: Worker processes.
        resources_per_worker: What one takes: `{CPU: 1}`, `{GPU: 1, CPU: 4}`, own resources.
        use_gpu: One CUDA device for each worker.
        placement: How workers are spread over machines: `PACK`, `SPREAD`, `STRICT_PACK` or
            `STRICT_SPREAD`.
        address: A running cluster: `auto`, `host:port` or `ray://host:port`. Empty: a new one on
            this machine, which ends with the run.
        connect_timeout_s: How long to wait for the cluster, in seconds.
        runtime_env: Ray's description of what the workers need on their machines: environment
            variables, packages. `pip: auto`: the wheels of the run in their versions here.
        max_failures: How often the workers are started again when one of them, or its machine,
            dies; they go on from the newest checkpoint. Wrong input is never tried again.
        rejoin_timeout_s: How long to wait for another machine when those that are left cannot
            hold the workers, in seconds.
        storage: A folder or URL that fsspec knows (`s3://bucket/run`), where every checkpoint is
            copied to; with it, `run.out_dir` may be on each machine's own disk. Trials of a sweep
            have a folder each in it. Empty: none.
        backend: `gloo` (CPU), `nccl` (CUDA), or `auto`.
        timeout_s: How long a worker waits for the others, in seconds. Default: 120 with gloo, 600
            with nccl. What rank 0 does alone (saving, evaluating) may take longer.
        strategy: `ddp`: every worker has the whole model. `fsdp`: each has a part of it.
        find_unused_parameters: Some parameters get no gradient in some steps.
        sync_batch_norm: Batch norm in trained components sees the samples of all workers.
        fsdp_wrap: For a component, which of its modules are gathered one by one; see the runner
            `ddp`.
    """

    parameter_check: ClassVar = "trainer_ray.options:check"

    def __init__(
        self,
        *,
        num_workers: Positive = 1,
        resources_per_worker: dict[str, float] | None = None,
        use_gpu: bool = False,
        placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK",
        address: str = "",
        connect_timeout_s: PositiveNumber = 60.0,
        runtime_env: dict[str, Any] | None = None,
        max_failures: Count = 0,
        rejoin_timeout_s: PositiveNumber = 60.0,
        storage: str = "",
        backend: Literal["auto", "gloo", "nccl"] = "auto",
        timeout_s: PositiveNumber | None = None,
        strategy: Literal["ddp", "fsdp"] = "ddp",
        find_unused_parameters: bool = False,
        sync_batch_norm: bool = True,
        fsdp_wrap: dict[str, list[str]] | None = None,
    ) -> None:
        self.options = Options(
            num_workers=num_workers,
            resources_per_worker=(
                {"CPU": 1.0} if resources_per_worker is None else dict(resources_per_worker)
            ),
            use_gpu=use_gpu,
            placement=placement,
            address=address,
            connect_timeout_s=connect_timeout_s,
            runtime_env=dict(runtime_env or {}),
            max_failures=max_failures,
            rejoin_timeout_s=rejoin_timeout_s,
            storage=storage,
            backend=backend,
            timeout_s=timeout_s,
            strategy=strategy,
            find_unused_parameters=find_unused_parameters,
            sync_batch_norm=sync_batch_norm,
            fsdp_wrap=dict(fsdp_wrap or {}),
        )

    def run(self, experiment: LoadedExperiment) -> RunResult:
        """Train in all workers; return the result of rank 0.

        Raises:
            ConfigError: Something in the file cannot be had or does not fit.
            UserError: An option is out of its range, or no cluster can hold the workers.
            MissingPackageError: Ray or its training library is not installed.
            TrainerError: The run failed; the message names the rank.
        """
        self._prepare()
        from trainer_ray.driver import launch  # noqa: PLC0415 - imported when a run starts

        return launch(experiment, self.options)

    def sweep(
        self, experiments: Sequence[LoadedExperiment], report: SweepReport | None = None
    ) -> list[RunResult]:
        """Train the trials of a sweep side by side, as many as the cluster has room for.

        Args:
            experiments: The trials.
            report: Hears how they go; None: lines on stderr.

        Raises:
            UserError: An option is out of its range, or no cluster can hold a trial.
            MissingPackageError: Ray or its training library is not installed.
        """
        self._prepare()
        from trainer_ray.sweeping import launch_all  # noqa: PLC0415 - as above

        return launch_all(experiments, self.options, report)

    def _prepare(self) -> None:
        self.options.require_valid()
        import_ray()
