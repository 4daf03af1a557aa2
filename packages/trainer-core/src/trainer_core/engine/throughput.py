"""How much of what a device can compute a run uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from trainer_core.loader import BatchSource
from trainer_core.sampling import order_of
from trainer_core.seeding import isolated_rng
from trainer_core.step import LossTrainer
from trainer_core.tree import move_to_device
from trainer_core.update import Buffers

if TYPE_CHECKING:
    from trainer_core.engine.built import Experiment
    from trainer_core.protocols import Batch

__all__ = ["count_flops", "first_batch", "flops_share", "peak_flops"]

_PEAKS = (  # part of the name, dense 10^12 FLOP/s in bf16 or fp16, and in fp32
    ("B200", 2250.0, 80.0),
    ("H200", 989.0, 67.0),
    ("H100 PCIe", 756.0, 51.0),
    ("H100", 989.0, 67.0),
    ("A100", 312.0, 19.5),
    ("L40S", 362.0, 91.6),
    ("L4", 121.0, 30.3),
    ("A10", 125.0, 31.2),
)


def peak_flops(
    device: torch.device, precision: str, given_tflops: float | None = None
) -> float | None:
    """Return what a device can compute, in FLOP/s; None where it is not known.

    Args:
        device: A CUDA device may be known by its name.
        precision: The number format of the forward pass.
        given_tflops: What the user says, in 10^12 FLOP/s.

    Source: NVIDIA's data sheets, dense figures.
    """
    if given_tflops is not None:
        return given_tflops * 1e12
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    for part, half, single in _PEAKS:
        if part in name:
            return (single if precision == "fp32" else half) * 1e12
    return None


def first_batch(experiment: Experiment) -> Batch:
    """Return this rank's part of the first batch, normalised, on the device."""
    ranks = experiment.trainer.options.ranks
    order = order_of(experiment.dataset, experiment.seed)
    source = BatchSource(
        experiment.dataset,
        order,
        global_batch=experiment.global_batch,
        rank=ranks.rank,
        world_size=ranks.world_size,
    )
    batch = move_to_device(source.iterate(0)(), experiment.device)
    normalized: Batch = experiment.normalizer.normalize(batch)
    return normalized


def count_flops(experiment: Experiment) -> float | None:
    """Return the floating-point operations of a step of this rank, forward and backward.

    A batch goes through the model; weights, buffers and generators stay as they are. None: the
    trainer owns its whole step.
    """
    trainer = experiment.trainer
    if not isinstance(trainer, LossTrainer):
        return None
    buffers = Buffers(experiment.models)
    counter = FlopCounterMode(display=False)
    with isolated_rng(), torch.compiler.set_stance("force_eager"):
        batch = first_batch(experiment)
        with counter:
            trainer.compute_gradients(batch, epoch=0, iterations=0)
    buffers.restore()
    trainer.zero_grad()
    return float(counter.get_total_flops())


def flops_share(experiment: Experiment) -> float:
    """Return a step's operations as a share of what the device does in a second; 0: not known."""
    options = getattr(experiment.trainer, "options", None)
    if experiment.loaded is None or options is None:
        return 0.0
    given = experiment.loaded.config.run.peak_tflops
    peak = peak_flops(experiment.device, options.precision, given)
    flops = None if peak is None else count_flops(experiment)
    return flops / peak if flops and peak else 0.0
