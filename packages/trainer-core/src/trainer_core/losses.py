"""The loss factory for any module of torch."""

from __future__ import annotations

from torch import nn

__all__ = ["TorchLoss"]


class TorchLoss:
    """A loss that is an `nn.Module` already: `{_type_: torch, fn: {_type_: nn.MSELoss}}`.

    Args:
        fn: The loss module, called as `fn(prediction, target)`.

    Raises:
        ValueError: `fn` is no module.
    """

    def __init__(self, fn: nn.Module) -> None:
        given: object = fn
        if not isinstance(given, nn.Module):
            msg = f"'fn' must be a module such as {{_type_: nn.MSELoss}}, not {fn!r}"
            raise ValueError(msg)  # noqa: TRY004 - a value of the user's file
        self.fn: nn.Module = fn

    def build(self) -> nn.Module:
        """Return the module."""
        return self.fn
