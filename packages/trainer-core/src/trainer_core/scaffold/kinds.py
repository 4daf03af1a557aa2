"""What a new package holds for each kind of component."""

from __future__ import annotations

from typing import NamedTuple

from trainer_core.discovery.names import COMPONENT_GROUPS

__all__ = ["KINDS", "Kind", "group_of"]


class Kind(NamedTuple):
    """How the package of one kind looks.

    Attributes:
        module: Module that holds the component.
        base: Class of the conformance kit that checks it.
        attributes: Lines of the test class, besides its key.
        usage: How an experiment file uses it; `$name` is its `_type_`.
    """

    module: str
    base: str
    attributes: str
    usage: str


KINDS: dict[str, Kind] = {
    "trainer": Kind(
        "trainers",
        "TrainerConformance",
        'params: ClassVar = {"beta": 0.5}',
        "trainer: {_type_: $name, beta: 0.5, max_steps: 1000}",
    ),
    "data": Kind(
        "datasets",
        "DatasetConformance",
        'params: ClassVar = {"size": 16}',
        "data: {_type_: $name, size: 1024, batch_size: 32}",
    ),
    "loss": Kind(
        "losses",
        "LossConformance",
        'params: ClassVar = {"weight": 0.5}\n    shape: ClassVar = (4, 2)',
        "loss: {_type_: $name, weight: 0.5}",
    ),
    "optim_factory": Kind(
        "optimizers",
        "OptimizerConformance",
        'params: ClassVar = {"lr": 0.1}',
        "optimizer: {_type_: $name, lr: 0.1}",
    ),
    "cb": Kind(
        "callbacks",
        "CallbackConformance",
        'params: ClassVar = {"every": 2}',
        "callbacks: [{_type_: $name, every: 100}]",
    ),
    "log": Kind(
        "loggers",
        "LoggerConformance",
        'params: ClassVar = {"file": "values.tsv"}',
        "loggers: [{_type_: $name, file: values.tsv}]",
    ),
    "block": Kind(
        "blocks",
        "BlockConformance",
        'params: ClassVar = {"width": 8}\n    inputs: ClassVar = [[2, 8]]',
        "model: {sequential: {layers: [{_type_: $name, width: 8}]}}",
    ),
    "runner": Kind(
        "runners",
        "RunnerConformance",
        "params: ClassVar = {}",
        "runner: {_type_: $name, threads: 4}",
    ),
    "eval": Kind(
        "evaluators",
        "EvaluatorConformance",
        'params: ClassVar = {"order": 1}',
        "evaluation: {_type_: $name, every: 500, order: 1}",
    ),
    "metric": Kind(
        "metrics",
        "ComponentConformance",
        'params: ClassVar = {"target": "y"}',
        "metrics: [{_type_: $name, target: y}]",
    ),
    "io": Kind(
        "io",
        "ComponentConformance",
        'params: ClassVar = {"inputs": ["x"], "targets": ["y"]}',
        "io: {_type_: $name, inputs: [x], targets: [y]}",
    ),
    "op": Kind(
        "ops",
        "Conformance",
        "",
        "{out: total, call: 'op:$name', args: [$$a, $$b]}",
    ),
}


def group_of(kind: str) -> str:
    """Return the entry-point group of a kind."""
    return next(group for group, kinds in COMPONENT_GROUPS.items() if kind in kinds)
