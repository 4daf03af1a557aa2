"""What a new package holds for each kind of component."""

from __future__ import annotations

from typing import NamedTuple

from trainer_core.discovery.names import COMPONENT_GROUPS, GROUPS

__all__ = ["KINDS", "Kind", "group_of"]


class Kind(NamedTuple):
    """How the package of one kind looks.

    Attributes:
        module: Module that holds the component.
        values: What the conformance kit needs to know, as `conformance.yaml` has it.
        usage: How an experiment file uses it; `$name` is its `_type_`.
    """

    module: str
    values: str
    usage: str


KINDS: dict[str, Kind] = {
    "trainer": Kind(
        "trainers",
        "{params: {beta: 0.5}}",
        "trainer: {_type_: $name, beta: 0.5, max_steps: 1000}",
    ),
    "data": Kind(
        "datasets",
        "{params: {size: 16}}",
        "data: {_type_: $name, size: 1024, batch_size: 32}",
    ),
    "loss": Kind(
        "losses",
        "{params: {weight: 0.5}, shape: [4, 2]}",
        "loss: {_type_: $name, weight: 0.5}",
    ),
    "optim_factory": Kind(
        "optimizers",
        "{params: {lr: 0.1}}",
        "optimizer: {_type_: $name, lr: 0.1}",
    ),
    "cb": Kind(
        "callbacks",
        "{params: {every: 2}}",
        "callbacks: [{_type_: $name, every: 100}]",
    ),
    "log": Kind(
        "loggers",
        "{params: {file: values.tsv}}",
        "loggers: [{_type_: $name, file: values.tsv}]",
    ),
    "block": Kind(
        "blocks",
        "{params: {width: 8}, inputs: [[2, 8]]}",
        "model: {sequential: {layers: [{_type_: $name, width: 8}]}}",
    ),
    "runner": Kind(
        "runners",
        "{params: {}}",
        "runner: {_type_: $name, threads: 4}",
    ),
    "eval": Kind(
        "evaluators",
        "{params: {order: 1}}",
        "evaluation: {_type_: $name, every: 500, order: 1}",
    ),
    "metric": Kind(
        "metrics",
        "{params: {target: y}, prediction: [4, 2], batch: {y: [4, 2]}}",
        "metrics: [{_type_: $name, target: y}]",
    ),
    "io": Kind(
        "io",
        "{params: {inputs: [x], targets: [y]}, batch: {x: [4, 3], y: [4, 2]}}",
        "io: {_type_: $name, inputs: [x], targets: [y]}",
    ),
    "sched_factory": Kind(
        "schedulers",
        "{params: {warmup: 0.5}}",
        "scheduler: {_type_: $name, warmup: 0.1}",
    ),
    "init": Kind(
        "initializers",
        "{}",
        "model: {init: $name, sequential: {layers: [{_type_: mlp, dims: [4, 8, 1]}]}}",
    ),
    "hook": Kind(
        "hooks",
        "{}",
        "plugins: {disable: []}  # it listens to every run; [hook.$name] switches it off",
    ),
    "command": Kind(
        "commands",
        "{}",
        "# no file names it; on the command line: trainer $name --help",
    ),
    "op": Kind(
        "ops",
        "{inputs: [[2, 3], [2, 3]], params: {weight: 0.5}}",
        "{out: total, call: 'op:$name', args: [$$a, $$b]}",
    ),
}


def group_of(kind: str) -> str:
    """Return the entry-point group of a kind."""
    return next(
        group for group, kinds in (*COMPONENT_GROUPS.items(), *GROUPS.items()) if kind in kinds
    )
