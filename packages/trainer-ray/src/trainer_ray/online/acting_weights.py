"""The weights that rollouts act with: as they are trained, or as an evaluation measures them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from trainer_core.checkpoint.document import read_state
from trainer_core.engine.trained import load_components
from trainer_ray.online.packed_weights import named_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torch import Tensor

    from trainer_core.checkpoint.reader import Checkpoint
    from trainer_ray.online.packed_weights import Packer

__all__ = ["Averages", "weights_of"]


class Averages:
    """Averages of weights, wherever a run keeps them; training does not notice that it is asked.

    Args:
        kept: Functions that return averages by `<component>/<name>`, as those of
            `RunState.averages`; looked at anew each time.
        optimizers: Those that average weights themselves put the averages of their `eval()` in.
    """

    def __init__(
        self,
        kept: Sequence[Callable[[], Mapping[str, Tensor]]] = (),
        optimizers: Iterable[torch.optim.Optimizer] = (),
    ) -> None:
        self._kept = kept
        self._switched: list[Any] = []
        self._asked: list[Any] = []
        for optimizer in optimizers:
            if callable(getattr(optimizer, "average_copies", None)):
                self._asked.append(optimizer)
            elif all(callable(getattr(optimizer, mode, None)) for mode in ("eval", "train")):
                self._switched.append(optimizer)
        self._training: list[Tensor] = []

    def components(self) -> set[str]:
        """Return the names of the components that averages are kept of."""
        return {name.partition("/")[0] for name in self._kept_tensors()}

    @torch.no_grad()
    def copy(self, packer: Packer) -> None:
        """Copy what a packer packs, averages where there are any, else the trained weights."""
        kept = self._kept_tensors()

        def average(copies: Mapping[str, Tensor]) -> None:
            own = {packer.tensors[name]: copies[name] for name in copies.keys() - kept.keys()}
            for optimizer in self._asked:
                optimizer.average_copies(own)

        with self._averages_in_place():
            packer.copy(kept, average)

    def _kept_tensors(self) -> dict[str, Tensor]:
        return {name: tensor for read in self._kept for name, tensor in read().items()}

    @contextmanager
    def _averages_in_place(self) -> Iterator[None]:
        """Have the other optimizers put averages in; the weights come back bit for bit.

        Their own `train()` alone may bring them back but for rounding.
        """
        weights = [
            parameter.detach()
            for optimizer in self._switched
            for group in optimizer.param_groups
            for parameter in group["params"]
        ]
        if not weights:
            yield
            return
        if [each.shape for each in self._training] != [each.shape for each in weights]:
            self._training = [torch.empty_like(each) for each in weights]
        torch._foreach_copy_(self._training, weights)
        for optimizer in self._switched:
            optimizer.eval()
        try:
            yield
        finally:
            for optimizer in self._switched:
                optimizer.train()
            torch._foreach_copy_(weights, self._training)


def weights_of(checkpoint: Checkpoint, *, averaged: bool) -> dict[str, Tensor]:
    """Return the weights of a checkpoint by `<component>/<name>`.

    Args:
        checkpoint: A whole one.
        averaged: Those that an evaluation measures, as `trainer_core.engine.trained.load_trained`
            finds them; components are built only where an optimizer has to compute the averages.
            Otherwise the trained ones.

    Raises:
        CheckpointError: The checkpoint is damaged, or does not say what it was made of.
        ConfigError: A component that is needed is not installed.
    """
    if not averaged:
        return _read(checkpoint, "model.")
    if read_state(checkpoint).get("averaging"):
        return named_tensors(load_components(checkpoint)[0])
    return _read(checkpoint, "model.") | _read(checkpoint, "ema.")


def _read(checkpoint: Checkpoint, prefix: str) -> dict[str, Tensor]:
    return {
        f"{file.removeprefix(prefix).removesuffix('.safetensors')}/{name}": tensor
        for file in checkpoint.names(prefix)
        for name, tensor in checkpoint.read_tensors(file).items()
    }
