"""One batch through the model before anything is written: does the data fit?"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from policy_constructor.errors import ConfigError
from trainer_core.engine.monitors import check_monitors
from trainer_core.errors import DatasetError, UserError
from trainer_core.loader import BatchSource
from trainer_core.sampling import order_of
from trainer_core.seeding import isolated_rng
from trainer_core.step import LossTrainer
from trainer_core.tree import move_to_device

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trainer_core.engine.built import Experiment

__all__ = ["check_first_batch", "describe_batch"]

_ABOUT_DATA = re.compile(r"\b(shapes?|sizes?|dimensions?|dims?|mat1|broadcast|channels|d?types?)\b")


def check_first_batch(experiment: Experiment) -> None:
    """Compute the loss of one batch without training on it.

    Trainers that own their whole step are not asked: their first step tells.

    Raises:
        ConfigError: A `monitor` names a metric that this batch does not have.
        DatasetError: A batch key is missing, or shapes or dtypes do not fit; the message has the
            batch.
        UserError: The model or the loss refuses a value, or memory does not suffice.
    """
    trainer = experiment.trainer
    if not isinstance(trainer, LossTrainer):
        return
    options = trainer.options
    size = experiment.global_batch // options.ranks.world_size // options.grad_accum_steps
    order = order_of(experiment.dataset, experiment.seed)
    source = BatchSource(experiment.dataset, order, global_batch=size)
    with isolated_rng(), _explained_memory(size):
        batch = source.iterate(0)()
        batch = experiment.normalizer.normalize(move_to_device(batch, experiment.device))
        context = trainer.make_context(batch, step=0, epoch=0, training=False)
        experiment.models.eval()
        try:
            with options.ranks.whole():
                measured = trainer.validation_step(batch, context)
        except (RuntimeError, LookupError) as exc:
            if isinstance(exc, RuntimeError) and not _ABOUT_DATA.search(str(exc)):
                raise
            reason = exc.args[0] if exc.args else exc
            if isinstance(exc, KeyError) and reason not in batch:
                named = ", ".join(experiment.models)
                reason = f"{reason!r} is asked for, which no batch has (and no model: {named})"
            msg = f"the data does not fit the model: {reason}\n{describe_batch(batch)}"
            raise DatasetError(msg) from exc
        except ConfigError:
            raise
        except (TypeError, ValueError) as exc:
            msg = f"the loss of the first batch is refused: {exc}\n{describe_batch(batch)}"
            raise UserError(msg) from exc
        finally:
            experiment.models.train()
    check_monitors(experiment, measured)


@contextmanager
def _explained_memory(size: int) -> Iterator[None]:
    """Say of how many samples the batch is that does not fit into memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as exc:
        is_memory = isinstance(exc, (MemoryError, torch.OutOfMemoryError))
        if not is_memory and "allocate memory" not in str(exc):
            raise
        msg = f"a batch of {size} samples does not fit into memory; lower data.batch_size"
        raise UserError(msg) from exc


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
