from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import pytest

from policy_constructor.discovery.conformance import protocol_mismatch


@runtime_checkable
class Trainer(Protocol):
    interval: str

    def train_step(self, data: dict[str, Any], *, epoch: int, **kwargs: Any) -> dict[str, Any]: ...


class Right:
    def train_step(self, batch: Any, *, epoch: int, **kwargs: Any) -> Any: ...


class MoreThanNeeded(Right):
    def train_step(self, batch: Any, extra: int = 0, *, epoch: int = 0, **kwargs: Any) -> Any: ...


class Variadic:
    def train_step(*args: Any, **kwargs: Any) -> Any: ...


class Static:
    @staticmethod
    def train_step(batch: Any, *, epoch: int, **kwargs: Any) -> Any: ...


class OfClass:
    @classmethod
    def train_step(cls, batch: Any, *, epoch: int, **kwargs: Any) -> Any: ...


class Nothing: ...


class NotCallable:
    train_step = 3


class NoEpoch:
    def train_step(self, data: Any) -> Any: ...


class NoKeywords:
    def train_step(self, data: Any, *, epoch: int) -> Any: ...


class NoData:
    def train_step(self, *, epoch: int, **kwargs: Any) -> Any: ...


class Demanding:
    def train_step(self, data: Any, target: Any, *, epoch: int, **kwargs: Any) -> Any: ...


class DemandingByName:
    def train_step(self, data: Any, *, epoch: int, lr: float, **kwargs: Any) -> Any: ...


@pytest.mark.parametrize(
    "target", [Right, MoreThanNeeded, Variadic, Static, OfClass, dict.fromkeys]
)
def test_class_that_can_be_called_as_its_protocol_passes(target: Any) -> None:
    assert protocol_mismatch(target, Trainer) is None


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Nothing, "Nothing has no method 'train_step(data, *, epoch, **kwargs)'"),
        (NotCallable, "NotCallable has no method 'train_step(data, *, epoch, **kwargs)'"),
        (NoEpoch, "NoEpoch.train_step does not accept 'epoch' (protocol Trainer)"),
        (NoKeywords, "NoKeywords.train_step does not accept '**kwargs' (protocol Trainer)"),
        (
            NoData,
            (
                "NoData.train_step takes 0 positional arguments, but is called with 1: data"
                " (protocol Trainer)"
            ),
        ),
        (
            Demanding,
            "Demanding.train_step needs 'target', which nobody passes (protocol Trainer)",
        ),
        (
            DemandingByName,
            "DemandingByName.train_step needs 'lr', which nobody passes (protocol Trainer)",
        ),
        (3, "3 is no class and cannot be called"),
    ],
)
def test_mismatch_names_what_is_missing(target: Any, expected: str) -> None:
    assert protocol_mismatch(target, Trainer) == expected


def test_methods_of_a_parent_protocol_are_needed_too() -> None:
    @runtime_checkable
    class Stoppable(Trainer, Protocol):
        def stop(self) -> None: ...

    assert protocol_mismatch(Right, Stoppable) == "Right has no method 'stop()'"
