"""A problem so small that a check can train it twice."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch

from trainer_core.engine.build import build_experiment
from trainer_core.engine.loop import fit
from trainer_core.experiment.loading import load_experiment
from trainer_core.loader import BatchSource
from trainer_core.ranks import LocalRanks
from trainer_core.sampling import SampleOrder
from trainer_core.testing.declaration import require
from trainer_core.tree import move_to_device

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from trainer_core.engine.built import Experiment
    from trainer_core.results import RunResult

__all__ = [
    "MIDDLE",
    "STEPS",
    "build",
    "first_batch",
    "random_tensors",
    "require_equal",
    "require_finite_scalars",
    "set_value",
    "tiny_experiment",
    "train",
    "weights_of",
]

STEPS, MIDDLE = 4, 2


def tiny_experiment(**sections: Any) -> dict[str, Any]:
    """Return an experiment on random regression data, with some sections exchanged."""
    return {
        "schema_version": 1,
        "run": {"name": "conformance", "out_dir": "unset"},
        "model": {"sequential": {"layers": [{"_type_": "mlp", "dims": [3, 8, 2]}]}},
        "data": {
            "_type_": "trainer-core::data.random_regression",
            "x_shape": [3],
            "y_shape": [2],
            "size": 16,
            "batch_size": 4,
        },
        "io": {
            "_type_": "trainer-core::io.mapping",
            "model_kwargs": {"x": ["x"]},
            "targets": {"y": ["y"]},
        },
        "loss": {"_type_": "trainer-core::loss.torch", "fn": {"_type_": "nn.MSELoss"}},
        "optimizer": {"_type_": "trainer-core::optim_factory.torch", "type": "AdamW"},
        "trainer": {"_type_": "trainer-core::trainer.default"},
        **sections,
    }


def set_value(path: str, value: Any) -> str:
    """Return the override that sets a value, whatever its type."""
    return f"{path}={json.dumps(value)}"


def build(
    source: str | Mapping[str, Any], out_dir: Path, overrides: Sequence[str] = ()
) -> Experiment:
    """Build an experiment for a few steps on the CPU, saved in the middle and at the end."""
    saving = {"_type_": "trainer-core::cb.model_checkpoint", "every_n_steps": MIDDLE}
    changes = [
        "run.device=cpu",
        "run.precision=fp32",
        set_value("run.out_dir", str(out_dir)),
        set_value("trainer.max_steps", STEPS),
        "loggers=[]",
        set_value("+callbacks", [{**saving, "keep_last": STEPS}]),
    ]
    loaded = load_experiment(source, [*overrides, *changes], runner="local")
    return build_experiment(loaded, LocalRanks())


def train(experiment: Experiment, out_dir: Path, resume: str = "none") -> RunResult:
    """Train what was built."""
    return fit(experiment, out_dir, resume=resume)


def first_batch(experiment: Experiment) -> dict[str, Any]:
    """Return the first batch as the trainer gets it."""
    order = SampleOrder(len(experiment.dataset), experiment.seed)
    source = BatchSource(experiment.dataset, order, global_batch=experiment.global_batch)
    batch = move_to_device(source.iterate(0)(), experiment.device)
    normalized: dict[str, Any] = experiment.normalizer.normalize(batch)
    return normalized


def random_tensors(shapes: Any) -> Any:
    """Return normal tensors for a shape, a list of shapes or a mapping of them; always the same."""
    generator = torch.Generator().manual_seed(0)

    def make(shape: Any) -> Any:
        if isinstance(shape, Mapping):
            return {name: make(inner) for name, inner in shape.items()}
        if any(isinstance(size, Mapping | Sequence) for size in shape):
            return [make(inner) for inner in shape]
        return torch.randn(*shape, generator=generator)

    return make(shapes)


def weights_of(experiment: Experiment) -> dict[str, Tensor]:
    """Return copies of all parameters and buffers."""
    state = experiment.models.state_dict()
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def require_equal(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], message: str) -> None:
    """Fail the check unless the weights are equal, bit for bit."""
    differing = [name for name in wanted if not torch.equal(found[name], wanted[name])]
    require(not differing, f"{message}: {', '.join(differing[:3])}")


def require_finite_scalars(metrics: Any, owner: str) -> None:
    """Fail the check unless this is a mapping of names to finite scalars."""
    require(isinstance(metrics, dict), f"{owner} returned {type(metrics).__name__}, not a dict")
    require(metrics, f"{owner} returned no metric")
    for name, value in metrics.items():
        is_scalar = isinstance(value, Real) or getattr(value, "numel", lambda: 0)() == 1
        require(is_scalar, f"{owner}: {name} is no scalar")
        require(math.isfinite(float(value)), f"{owner}: {name} is {float(value)}")
