"""The contract that plugins are written against; it changes by its own version.

A plugin states what it was written for by its requirement on `trainer-core`. A minor version
adds (a hook, an optional argument, a method with a default); a major version may take away.
"""

from __future__ import annotations

from policy_constructor.errors import ConfigError, Location, Problem
from trainer_core.discovery.registrar import Registrar
from trainer_core.errors import (
    CheckpointError,
    DatasetError,
    Interrupted,
    MissingPackageError,
    StorageError,
    TrainerError,
    UserError,
)
from trainer_core.hookspecs import hookimpl
from trainer_core.protocols import (
    Batch,
    DatasetFactory,
    EvaluationContext,
    Evaluator,
    Exportable,
    IOMapping,
    LossFactory,
    Metric,
    MetricLogger,
    OptimizerFactory,
    ParameterGroups,
    Runner,
    SchedulerFactory,
    StepContext,
    Trainer,
)

__all__ = [
    "API_VERSION",
    "Batch",
    "CheckpointError",
    "ConfigError",
    "DatasetError",
    "DatasetFactory",
    "EvaluationContext",
    "Evaluator",
    "Exportable",
    "IOMapping",
    "Interrupted",
    "Location",
    "LossFactory",
    "Metric",
    "MetricLogger",
    "MissingPackageError",
    "OptimizerFactory",
    "ParameterGroups",
    "Problem",
    "Registrar",
    "Runner",
    "SchedulerFactory",
    "StepContext",
    "StorageError",
    "Trainer",
    "TrainerError",
    "UserError",
    "hookimpl",
]

API_VERSION = "1.0"
