"""Train robot-learning policies from one YAML file: engine, plugins, checkpoints, CLI.

Importing this package imports nothing else: each public name is loaded when it is asked for.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MODULES = {
    "Batch": "trainer_core.protocols",
    "CheckpointError": "trainer_core.errors",
    "ComponentRef": "policy_constructor.discovery.registry",
    "ConfigError": "policy_constructor.errors",
    "DatasetError": "trainer_core.errors",
    "DatasetFactory": "trainer_core.protocols",
    "EvaluationContext": "trainer_core.protocols",
    "Evaluator": "trainer_core.protocols",
    "Exportable": "trainer_core.protocols",
    "IOMapping": "trainer_core.protocols",
    "Initializer": "trainer_core.protocols",
    "Interrupted": "trainer_core.errors",
    "LossFactory": "trainer_core.protocols",
    "LossTrainer": "trainer_core.step",
    "Metric": "trainer_core.protocols",
    "MetricLogger": "trainer_core.protocols",
    "MissingPackageError": "trainer_core.errors",
    "OptimizerFactory": "trainer_core.protocols",
    "Registry": "policy_constructor.discovery.registry",
    "RunResult": "trainer_core.results",
    "Runner": "trainer_core.protocols",
    "SchedulerFactory": "trainer_core.protocols",
    "StepContext": "trainer_core.protocols",
    "StorageError": "trainer_core.errors",
    "Trainer": "trainer_core.protocols",
    "TrainerError": "trainer_core.errors",
    "UserError": "trainer_core.errors",
    "cast_dtype": "trainer_core.tree",
    "hookimpl": "trainer_core.hookspecs",
    "instantiate": "trainer_core.instantiate",
    "load_experiment": "trainer_core.experiment.loading",
    "move_to_device": "trainer_core.tree",
    "run": "trainer_core.run",
    "seed_worker": "trainer_core.seeding",
    "select": "trainer_core.tree",
    "set_global_seed": "trainer_core.seeding",
    "tree_flatten": "trainer_core.tree",
    "tree_map": "trainer_core.tree",
}

if TYPE_CHECKING:
    from policy_constructor.discovery.registry import ComponentRef, Registry
    from policy_constructor.errors import ConfigError
    from trainer_core.errors import (
        CheckpointError,
        DatasetError,
        Interrupted,
        MissingPackageError,
        StorageError,
        TrainerError,
        UserError,
    )
    from trainer_core.experiment.loading import load_experiment
    from trainer_core.hookspecs import hookimpl
    from trainer_core.instantiate import instantiate
    from trainer_core.protocols import (
        Batch,
        DatasetFactory,
        EvaluationContext,
        Evaluator,
        Exportable,
        Initializer,
        IOMapping,
        LossFactory,
        Metric,
        MetricLogger,
        OptimizerFactory,
        Runner,
        SchedulerFactory,
        StepContext,
        Trainer,
    )
    from trainer_core.results import RunResult
    from trainer_core.run import run
    from trainer_core.seeding import seed_worker, set_global_seed
    from trainer_core.step import LossTrainer
    from trainer_core.tree import cast_dtype, move_to_device, select, tree_flatten, tree_map

__all__ = [
    "Batch",
    "CheckpointError",
    "ComponentRef",
    "ConfigError",
    "DatasetError",
    "DatasetFactory",
    "EvaluationContext",
    "Evaluator",
    "Exportable",
    "IOMapping",
    "Initializer",
    "Interrupted",
    "LossFactory",
    "LossTrainer",
    "Metric",
    "MetricLogger",
    "MissingPackageError",
    "OptimizerFactory",
    "Registry",
    "RunResult",
    "Runner",
    "SchedulerFactory",
    "StepContext",
    "StorageError",
    "Trainer",
    "TrainerError",
    "UserError",
    "__version__",
    "cast_dtype",
    "hookimpl",
    "instantiate",
    "load_experiment",
    "move_to_device",
    "run",
    "seed_worker",
    "select",
    "set_global_seed",
    "tree_flatten",
    "tree_map",
]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        msg = f"module 'trainer_core' has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `trainer_core.run` a function once the module of that name has been imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _MODULES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
