"""The conformance kit: numbered checks that a plugin's author runs on every component.

Importing this package imports nothing else: its pytest plugin is loaded by every run of pytest in
every environment that has trainer-core.
"""

from typing import TYPE_CHECKING, Any

_MODULES = {
    "BlockConformance": "trainer_core.testing.parts",
    "CallbackConformance": "trainer_core.testing.listeners",
    "CommandConformance": "trainer_core.testing.declarations",
    "ComponentConformance": "trainer_core.testing.component",
    "Conformance": "trainer_core.testing.declaration",
    "DatasetConformance": "trainer_core.testing.parts",
    "EvaluatorConformance": "trainer_core.testing.runs",
    "HookPluginConformance": "trainer_core.testing.listeners",
    "IOConformance": "trainer_core.testing.values",
    "InitializerConformance": "trainer_core.testing.values",
    "LoggerConformance": "trainer_core.testing.listeners",
    "LossConformance": "trainer_core.testing.parts",
    "MetricConformance": "trainer_core.testing.values",
    "OperationConformance": "trainer_core.testing.values",
    "OptimizerConformance": "trainer_core.testing.parts",
    "RecipesConformance": "trainer_core.testing.declarations",
    "RunnerConformance": "trainer_core.testing.runs",
    "SchedulerConformance": "trainer_core.testing.parts",
    "TrainerConformance": "trainer_core.testing.runs",
    "conformance_classes": "trainer_core.testing.collection",
}

if TYPE_CHECKING:
    from trainer_core.testing.collection import conformance_classes
    from trainer_core.testing.component import ComponentConformance
    from trainer_core.testing.declaration import Conformance
    from trainer_core.testing.declarations import CommandConformance, RecipesConformance
    from trainer_core.testing.listeners import (
        CallbackConformance,
        HookPluginConformance,
        LoggerConformance,
    )
    from trainer_core.testing.parts import (
        BlockConformance,
        DatasetConformance,
        LossConformance,
        OptimizerConformance,
        SchedulerConformance,
    )
    from trainer_core.testing.runs import (
        EvaluatorConformance,
        RunnerConformance,
        TrainerConformance,
    )
    from trainer_core.testing.values import (
        InitializerConformance,
        IOConformance,
        MetricConformance,
        OperationConformance,
    )

__all__ = [
    "BlockConformance",
    "CallbackConformance",
    "CommandConformance",
    "ComponentConformance",
    "Conformance",
    "DatasetConformance",
    "EvaluatorConformance",
    "HookPluginConformance",
    "IOConformance",
    "InitializerConformance",
    "LoggerConformance",
    "LossConformance",
    "MetricConformance",
    "OperationConformance",
    "OptimizerConformance",
    "RecipesConformance",
    "RunnerConformance",
    "SchedulerConformance",
    "TrainerConformance",
    "conformance_classes",
]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        msg = f"module 'trainer_core.testing' has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(module), name)
