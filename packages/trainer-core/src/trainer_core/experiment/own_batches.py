"""The batches of trainer-core's own data sets, from their parameters; without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.protocols import BatchReport, BatchShapes

__all__ = ["random_regression"]


def random_regression(parameters: Mapping[str, Any], report: BatchReport) -> BatchShapes:
    """Return the shapes of the batches of `data.random_regression`."""
    del report  # there is nothing that its parameters could get wrong about its keys
    x_shape, y_shape = tuple(parameters["x_shape"]), tuple(parameters["y_shape"])
    return {"x": x_shape, "y": y_shape, "index": ()}
