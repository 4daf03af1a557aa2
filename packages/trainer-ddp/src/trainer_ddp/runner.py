"""The runner `ddp`: several processes, one experiment. Imports no torch until a run starts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from trainer_ddp.environment import find_place
from trainer_ddp.options import Options

if TYPE_CHECKING:
    from typing import Literal

    from policy_constructor.ranges import Count, Positive, PositiveNumber
    from trainer_core.distributed.place import Place
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.results import RunResult

__all__ = ["DDPRunner"]


class DDPRunner:
    """Trains in one process per device with torch.distributed, on one machine or on many.

    It starts the processes itself, through torch's elastic agent. Started by `torchrun`, `srun` or
    Kubernetes' PyTorchJob, it takes the place that it finds in the environment. The results are
    those of the runner `local` at the same `data.batch_size`, which is the global one.

    Args:
        nproc_per_node: Processes on each machine. `auto`: one per CUDA device, on the CPU one.
        nnodes: Machines; the command is started on each of them.
        max_restarts: How often the processes are started again when one of them dies; they go on
            from the newest checkpoint. Wrong input is never tried again.
        backend: `gloo` (CPU), `nccl` (CUDA), or `auto`.
        timeout_s: How long a rank waits for the others, in seconds. Default: 120 with gloo, 600
            with nccl. What rank 0 does alone (saving, evaluating) may take longer.
        rdzv_backend: How machines find each other: `c10d`, or `etcd-v2`, which needs `python-etcd`.
        rdzv_endpoint: `host:port` of one of the machines; not needed for a single one.
        rdzv_id: A name of the job, equal on all machines.
        rdzv_timeout_s: How long a machine waits for the others, in seconds.
        strategy: `ddp`: every process has the whole model. `fsdp`: each has a part of the trained
            components, their gradients and optimizer states, and gathers weights as it uses them.
        find_unused_parameters: Some parameters get no gradient in some steps.
        static_graph: The same parameters get gradients in every step; DDP may reorder more.
        gradient_as_bucket_view: Gradients share the memory that is sent; saves a copy.
        bucket_cap_mb: Size of the parts that gradients are sent in, in MiB.
        comm_hook: Compress what is sent: `none`, `fp16`, `bf16` or `powersgd`. Changes results.
        sync_batch_norm: Batch norm in trained components sees the samples of all ranks.
        fsdp_wrap: For a component, which of its modules are gathered one by one: globs of their
            paths (`layers.*`: the entries of `layers`) or names of classes. The rest of all
            components is gathered at once, for the whole step.
        fsdp_reshard_after_forward: The modules of `fsdp_wrap` are freed after their forward pass
            and gathered again for the backward pass; less memory, more to send.
        fsdp_param_dtype: `bf16`: components compute with weights and inputs of this type. The
            weights themselves and the components' outputs stay fp32.
        fsdp_reduce_dtype: What gradients are sent and averaged in: `fp32` or `bf16`.
    """

    parameter_check: ClassVar = "trainer_ddp.options:check"

    def __init__(
        self,
        *,
        nproc_per_node: Positive | Literal["auto"] = "auto",
        nnodes: Positive = 1,
        max_restarts: Count = 0,
        backend: Literal["auto", "gloo", "nccl"] = "auto",
        timeout_s: PositiveNumber | None = None,
        rdzv_backend: Literal["c10d", "etcd-v2"] = "c10d",
        rdzv_endpoint: str = "",
        rdzv_id: str = "",
        rdzv_timeout_s: PositiveNumber = 300.0,
        strategy: Literal["ddp", "fsdp"] = "ddp",
        find_unused_parameters: bool = False,
        static_graph: bool = False,
        gradient_as_bucket_view: bool = True,
        bucket_cap_mb: PositiveNumber = 25.0,
        comm_hook: Literal["none", "fp16", "bf16", "powersgd"] = "none",
        sync_batch_norm: bool = True,
        fsdp_wrap: dict[str, list[str]] | None = None,
        fsdp_reshard_after_forward: bool = True,
        fsdp_param_dtype: Literal["fp32", "bf16"] = "fp32",
        fsdp_reduce_dtype: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        self.options = Options(
            nproc_per_node=nproc_per_node,
            nnodes=nnodes,
            max_restarts=max_restarts,
            backend=backend,
            timeout_s=timeout_s,
            rdzv_backend=rdzv_backend,
            rdzv_endpoint=rdzv_endpoint,
            rdzv_id=rdzv_id,
            rdzv_timeout_s=rdzv_timeout_s,
            strategy=strategy,
            find_unused_parameters=find_unused_parameters,
            static_graph=static_graph,
            gradient_as_bucket_view=gradient_as_bucket_view,
            bucket_cap_mb=bucket_cap_mb,
            comm_hook=comm_hook,
            sync_batch_norm=sync_batch_norm,
            fsdp_wrap=dict(fsdp_wrap or {}),
            fsdp_reshard_after_forward=fsdp_reshard_after_forward,
            fsdp_param_dtype=fsdp_param_dtype,
            fsdp_reduce_dtype=fsdp_reduce_dtype,
        )

    def run(self, experiment: LoadedExperiment) -> RunResult:
        """Train in all processes; return the result of rank 0.

        Raises:
            ConfigError: Something in the file cannot be had or does not fit.
            UserError: An option is out of its range, or the processes cannot meet.
            TrainerError: The run failed; the message names the rank.
        """
        self.options.require_valid()
        place = find_place(os.environ)
        if place is not None:
            return self._join(experiment, place)
        from trainer_ddp.launcher import launch  # noqa: PLC0415 - imported when a run starts

        return launch(experiment, self.options)

    def _join(self, experiment: LoadedExperiment, place: Place) -> RunResult:
        """Be the rank that another launcher made of this process."""
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # what matters is raised
        from trainer_ddp.joining import join  # noqa: PLC0415 - imports torch

        return join(experiment, place, self.options)
