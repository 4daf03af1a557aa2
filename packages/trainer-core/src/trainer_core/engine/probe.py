"""One batch through the model before anything is written: does the data fit?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import Tensor

from trainer_core.errors import DatasetError
from trainer_core.loader import BatchSource
from trainer_core.sampling import SampleOrder
from trainer_core.seeding import isolated_rng
from trainer_core.step import LossTrainer
from trainer_core.tree import move_to_device

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.engine.built import Experiment

__all__ = ["check_first_batch", "describe_batch"]

_ABOUT_SHAPES = re.compile(r"\b(shapes?|sizes?|dimensions?|dims?|mat1|broadcast|channels)\b")


def check_first_batch(experiment: Experiment) -> None:
    """Compute the loss of one batch without training on it.

    Trainers that own their whole step are not asked: their first step tells.

    Raises:
        DatasetError: A batch key is missing, or shapes do not fit; the message has the batch.
    """
    trainer = experiment.trainer
    if not isinstance(trainer, LossTrainer):
        return
    options = trainer.options
    size = experiment.global_batch // options.ranks.world_size // options.grad_accum_steps
    order = SampleOrder(len(experiment.dataset), experiment.seed)
    source = BatchSource(experiment.dataset, order, global_batch=size)
    with isolated_rng():
        batch = source.iterate(0)()
        batch = experiment.normalizer.normalize(move_to_device(batch, experiment.device))
        context = trainer.make_context(batch, step=0, epoch=0, training=False)
        experiment.models.eval()
        try:
            trainer.validation_step(batch, context)
        except (RuntimeError, LookupError) as exc:
            if isinstance(exc, RuntimeError) and not _ABOUT_SHAPES.search(str(exc)):
                raise
            reason = exc.args[0] if exc.args else exc
            msg = f"the data does not fit the model: {reason}\n{describe_batch(batch)}"
            raise DatasetError(msg) from exc
        finally:
            experiment.models.train()


def describe_batch(batch: Mapping[str, Any]) -> str:
    """Return a line per key of a batch: name, dtype and shape."""
    lines = ["  the batch has"]
    for key, value in batch.items():
        kind = (
            f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
            if isinstance(value, Tensor)
            else type(value).__name__
        )
        lines.append(f"    {key}: {kind}")
    return "\n".join(lines)
