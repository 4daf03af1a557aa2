"""Fewer data than there are: to see whether a model can learn at all, or to validate quickly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trainer_core.experiment.schema import ExperimentConfig

__all__ = ["FirstSamples", "limit_data"]


class FirstSamples:
    """The first samples of a data set.

    Args:
        dataset: Has `__len__`, and `__getitems__` or `__getitem__`.
        count: How many there shall be at most.
    """

    def __init__(self, dataset: Any, count: int) -> None:
        self.dataset = dataset
        self.count = min(count, len(dataset))
        read_many: Callable[[Any], Any] | None = getattr(dataset, "__getitems__", None)
        if read_many is not None:
            self.__getitems__ = read_many

    def __len__(self) -> int:
        """Return how many samples there are."""
        return self.count

    def __getitem__(self, index: int) -> Any:
        """Return one sample."""
        return self.dataset[index]

    @property
    def features(self) -> Mapping[str, Any]:
        """Return what the data set tells of its batches; nothing if it tells nothing."""
        return getattr(self.dataset, "features", None) or {}

    @property
    def written(self) -> tuple[str, ...]:
        """Return what the data set made on the disk, if it tells that."""
        return tuple(getattr(self.dataset, "written", ()))

    @property
    def fps(self) -> float | None:
        """Return the data set's frames per second, if it tells them."""
        return getattr(self.dataset, "fps", None)


def limit_data(data: Mapping[str, Any], config: ExperimentConfig) -> tuple[Any, Any]:
    """Return the training and the validation split, cut as the `trainer:` section asks.

    With `overfit_batches`, both are the first batches of the training split.
    """
    trainer, batch = config.trainer, config.data.batch_size
    dataset, val_dataset = data["dataset"], data.get("val_dataset")
    if trainer.overfit_batches is not None:
        dataset = val_dataset = FirstSamples(dataset, trainer.overfit_batches * batch)
    if trainer.limit_val_batches is not None and val_dataset is not None:
        val_dataset = FirstSamples(val_dataset, trainer.limit_val_batches * batch)
    return dataset, val_dataset
