"""A step that is not finite, done again under observation: which operation, which parameter?"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainer_core.shards import own_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import nn

    from trainer_core.step import LossTrainer, NonFiniteStep

__all__ = ["describe", "diagnose", "nonfinite_weights"]

_FILLING = ("empty", "full", "masked_fill", "where", "scalar_tensor", "resize", "set_", "copy")
_SHOWN = 5


def diagnose(trainer: LossTrainer, failure: NonFiniteStep) -> dict[str, Any]:
    """Do a step again, with the same batch and the same random numbers, and watch it.

    No weight is changed. All ranks do it together, each with its part of the batch.

    Returns:
        JSON data: the batch keys and the weights that were not finite before; the `operation`
        that made the first NaN and the `module` it was in; where there was an infinity before
        it, the `first_infinite` operation; what torch's anomaly detection says of the `backward`
        pass; the parameters whose `gradients` are not finite.
    """
    if trainer.options.ranks.is_sharded:
        return _look_at_parts(trainer, failure)
    watch = _Watch()
    handles = [
        handle for name, module in _modules(trainer) for handle in watch.follow(name, module)
    ]
    try:
        with watch:
            _again(trainer, failure)
    finally:
        for handle in handles:
            handle.remove()
    gradients = [
        name for name, p in _named(trainer) if p.grad is not None and not _is_finite(p.grad)
    ]
    found: dict[str, Any] = {
        "batch": [key for key, value in failure.batch.items() if not _is_finite(value)],
        "weights": nonfinite_weights(trainer),
        "operation": watch.nan,
        "module": watch.nan_module,
        "first_infinite": watch.infinite,
        "backward": _anomaly(trainer, failure),
        "gradients": gradients,
    }
    return {key: value for key, value in found.items() if value}


def _again(trainer: LossTrainer, failure: NonFiniteStep) -> None:
    trainer.reseed(failure.step)
    with torch.compiler.set_stance("force_eager"):
        trainer.compute_gradients(failure.batch, epoch=failure.epoch, iterations=failure.step)


def _look_at_parts(trainer: LossTrainer, failure: NonFiniteStep) -> dict[str, Any]:
    """Return what is known without doing the step again.

    Of sharded weights every operation may wait for the other ranks, which look at other numbers.
    """
    gradients = [
        name
        for name, p in _named(trainer)
        if p.grad is not None and not _is_finite(own_part(p.grad))
    ]
    found: dict[str, Any] = {
        "batch": [key for key, value in failure.batch.items() if not _is_finite(value)],
        "weights": nonfinite_weights(trainer),
        "gradients": _of_all_ranks(trainer, gradients),
    }
    return {key: value for key, value in found.items() if value}


def _of_all_ranks(trainer: LossTrainer, names: list[str]) -> list[str]:
    """Return the names that any rank has found in its part of the weights."""
    ranks = trainer.options.ranks
    if not ranks.is_sharded:
        return names
    return list(dict.fromkeys(name for found in ranks.gather(names) for name in found))


def _anomaly(trainer: LossTrainer, failure: NonFiniteStep) -> str:
    """Return what torch's anomaly detection says of the backward pass.

    It raises within the pass, which would leave other ranks waiting for this one's gradients.
    """
    if trainer.options.ranks.world_size > 1:
        return ""
    try:
        with warnings.catch_warnings(), torch.autograd.set_detect_anomaly(True):
            warnings.simplefilter("ignore")
            _again(trainer, failure)
    except RuntimeError as error:
        return str(error)
    return ""


def nonfinite_weights(trainer: LossTrainer) -> list[str]:
    """Return the names of the weights that are not finite."""
    return _of_all_ranks(trainer, [n for n, p in _named(trainer) if not _is_finite(own_part(p))])


def describe(found: Mapping[str, Any]) -> str:
    """Return a diagnosis in words."""
    said = []
    for key, words in (
        ("batch", "the batch has values that are not finite in"),
        ("weights", "weights that are not finite:"),
        ("gradients", "gradients that are not finite:"),
    ):
        if key in found:
            more = len(found[key]) - _SHOWN
            said.append(f"{words} {_listed(found[key])}" + (f" and {more} more" * (more > 0)))
    if "operation" in found:
        place = f" in {found['module']}" if "module" in found else ""
        said.append(f"the first NaN came from {found['operation']}{place}")
    if "first_infinite" in found:
        said.append(f"the first infinity came from {found['first_infinite']}")
    if "backward" in found:
        said.append(f"in the backward pass: {found['backward']}")
    return "".join(f"\n  {line}" for line in said) or (
        "\n  done again, the step was finite: the machine or a kernel is not deterministic"
    )


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch leaves it untyped
    """Notes the first operation that makes a NaN of numbers, and the first infinity before it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch leaves it untyped
        self._inside: list[str] = []
        self.nan = self.nan_module = self.infinite = ""

    def follow(self, name: str, module: nn.Module) -> tuple[Any, Any]:
        """Know while a module is called; return the hooks to remove."""
        enter = module.register_forward_pre_hook(lambda *_: self._inside.append(name))
        return enter, module.register_forward_hook(lambda *_: self._leave())

    def _leave(self) -> None:
        self._inside.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        name = func.name().removeprefix("aten::")
        if not self.nan and not name.lstrip("_").startswith(_FILLING):
            self._look(name, (args, kwargs), result)
        return result

    def _look(self, name: str, given: Any, result: Any) -> None:
        module = self._inside[-1] if self._inside else ""
        if _has(torch.isnan, result):
            if not _has(torch.isnan, given):
                self.nan, self.nan_module = name, module
            return
        is_first = not self.infinite and _has(torch.isinf, result)
        if is_first and not _has(torch.isinf, given):
            self.infinite = f"{name} in {module}" if module else name


def _has(test: Callable[[Tensor], Tensor], tree: Any) -> bool:
    return any(bool(test(tensor).any()) for tensor in _floats(tree))


def _modules(trainer: LossTrainer) -> Iterable[tuple[str, nn.Module]]:
    for component, owner in trainer.models.items():
        for name, module in owner.named_modules():
            yield f"{component}/{name}".rstrip("/"), module


def _floats(tree: Any) -> Iterable[Tensor]:
    return (
        leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.is_floating_point()
    )


def _is_finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    return not isinstance(value, float) or math.isfinite(value)


def _named(trainer: LossTrainer) -> Iterable[tuple[str, Any]]:
    for component, module in trainer.models.items():
        for name, parameter in module.named_parameters():
            yield f"{component}/{name}", parameter


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN])
