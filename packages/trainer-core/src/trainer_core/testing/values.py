"""The checks of what handles values: io mappings, metrics, initialisers, operations."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from trainer_core.testing import tiny
from trainer_core.testing.component import ComponentConformance
from trainer_core.testing.declaration import Conformance, require
from trainer_core.tree import tree_flatten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = [
    "IOConformance",
    "InitializerConformance",
    "MetricConformance",
    "OperationConformance",
]


class IOConformance(ComponentConformance):
    """Checks of an io mapping.

    Attributes:
        batch: Shapes of the batch's tensors by key; a mapping of shapes is a nested batch.
    """

    kind = "io"
    batch: ClassVar[Mapping[str, Any]] = {"x": [4, 3], "y": [4, 2]}

    def make_batch(self) -> dict[str, Any]:
        """Return a batch."""
        batch: dict[str, Any] = tiny.random_tensors(self.batch)
        return batch

    def test_tc035_names_inputs_and_targets(self, tmp_path: Path) -> None:
        """`model_inputs` and `loss_targets` return dicts of names that hold something."""
        mapping = self.build(tmp_path)
        for name in ("model_inputs", "loss_targets"):
            found = getattr(mapping, name)(self.make_batch())
            require(isinstance(found, dict), f"{name} returned {type(found).__name__}, not a dict")
            odd = [key for key in found if not isinstance(key, str)]
            require(not odd, f"{name} returned names that are no text: {odd}")
        require(mapping.model_inputs(self.make_batch()), "model_inputs returned nothing")

    def test_tc036_leaves_the_batch_alone(self, tmp_path: Path) -> None:
        """It changes neither the batch nor its tensors."""
        mapping, batch = self.build(tmp_path), self.make_batch()
        mapping.model_inputs(batch)
        mapping.loss_targets(batch)
        _require_unchanged(batch, self.make_batch(), "the batch")


class MetricConformance(ComponentConformance):
    """Checks of a metric.

    Attributes:
        prediction: Shape of the prediction; a mapping of shapes is a dict of tensors.
        batch: Shapes of the batch's tensors by key.
    """

    kind = "metric"
    prediction: ClassVar[Any] = (4, 2)
    batch: ClassVar[Mapping[str, Any]] = {"x": [4, 3], "y": [4, 2]}

    def make_update(self) -> tuple[Any, dict[str, Any]]:
        """Return a prediction and the batch that it was made from."""
        return tiny.random_tensors(self.prediction), tiny.random_tensors(self.batch)

    def measure(self, metric: Any) -> dict[str, float]:
        """Return the metrics of two equal batches."""
        for _ in range(2):
            metric.update(*self.make_update())
        measured: dict[str, float] = metric.compute()
        return measured

    def test_tc045_computes_finite_numbers(self, tmp_path: Path) -> None:
        """`compute` returns finite numbers by name."""
        measured = self.measure(self.build(tmp_path))
        require(isinstance(measured, dict), f"compute returned {type(measured).__name__}")
        require(measured, "compute returned no metric")
        for name, value in measured.items():
            require(isinstance(value, Real), f"{name} is {type(value).__name__}, not a number")
            require(math.isfinite(value), f"{name} is {value}")

    def test_tc046_begins_anew_after_computing(self, tmp_path: Path) -> None:
        """After `compute` nothing is left: the same batches give the same values again."""
        metric = self.build(tmp_path)
        first, second = self.measure(metric), self.measure(metric)
        require(first == second, f"the same batches gave {first}, then {second}")

    def test_tc047_leaves_what_it_measures_alone(self, tmp_path: Path) -> None:
        """`update` changes neither the prediction nor the batch."""
        given = self.make_update()
        self.build(tmp_path).update(*given)
        _require_unchanged(given, self.make_update(), "the prediction or the batch")


class InitializerConformance(Conformance):
    """Checks of an initialiser."""

    def test_tc057_fills_a_weight_in_place(self) -> None:
        """It fills the weights of linear and convolutional layers with finite numbers, in place."""
        for layer in (nn.Linear(3, 8), nn.Conv2d(3, 8, 3)):
            with torch.no_grad():
                layer.weight.fill_(math.nan)
                self.load()(layer.weight)
            finite = bool(torch.isfinite(layer.weight).all())
            require(finite, f"it left nan or inf in the weight of a {type(layer).__name__}")

    def test_tc058_is_decided_by_the_seed(self) -> None:
        """It draws from torch's generator only: one seed gives one weight, bit for bit."""
        weights = [torch.zeros(8, 3), torch.zeros(8, 3)]
        for weight in weights:
            torch.manual_seed(0)
            with torch.no_grad():
                self.load()(weight)
        require(torch.equal(*weights), "one seed gave two weights")


class OperationConformance(Conformance):
    """Checks of an operation that a model's graph calls.

    Attributes:
        inputs: The shapes of its arguments, such as `[[2, 3], [2, 3]]`; a list of shapes is a list
            of tensors. Override `make_inputs` for anything else.
        params: Its keyword arguments, as a file would have them.
    """

    inputs: ClassVar[Sequence[Any]] = ()

    @classmethod
    def unprepared(cls) -> dict[str, str]:
        """Return what cannot be done without inputs."""
        if cls.inputs or cls.make_inputs is not OperationConformance.make_inputs:
            return {}
        return {"TC086": "say what it takes: inputs: [[2, 3], [2, 3]]"}

    def make_inputs(self) -> tuple[Any, ...]:
        """Return the positional arguments."""
        return tuple(tiny.random_tensors(dict(enumerate(self.inputs))).values())

    def test_tc085_is_a_function(self) -> None:
        """It can be called; classes belong to the blocks, which the model then owns."""
        target = self.load()
        require(callable(target), f"{self.ref().target} cannot be called")
        is_module = isinstance(target, nn.Module | type)
        require(not is_module, f"{self.ref().target} is no function; declare it as a block")

    def test_tc086_depends_on_its_arguments_alone(self) -> None:
        """Called twice on the same tensors it returns the same, and leaves them alone."""
        require(self.make_inputs(), "say what it takes: inputs = [[2, 3], [2, 3]]")
        given = self.make_inputs()
        first = self.load()(*given, **self.params)
        second = self.load()(*self.make_inputs(), **self.params)
        _require_unchanged(given, self.make_inputs(), "an argument")
        same = _equal(tree_flatten(first)[0], tree_flatten(second)[0])
        require(same, "two calls on the same tensors returned different values")


def _require_unchanged(found: Any, wanted: Any, what: str) -> None:
    require(_equal(tree_flatten(found)[0], tree_flatten(wanted)[0]), f"{what} was changed")


def _equal(found: Sequence[Any], wanted: Sequence[Any]) -> bool:
    return len(found) == len(wanted) and all(
        torch.equal(one, other) if isinstance(one, Tensor) else one == other
        for one, other in zip(found, wanted, strict=True)
    )
