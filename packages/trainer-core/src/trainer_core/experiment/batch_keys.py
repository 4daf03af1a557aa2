"""What a model and a trainer take from a batch, held against what the data set says it gives."""

from __future__ import annotations

import ast
from importlib import import_module
from typing import TYPE_CHECKING, Any

from policy_constructor.config.node import to_plain
from policy_constructor.config.resolved import walk
from policy_constructor.signatures.signature import read_signature
from policy_constructor.spelling import nearest
from trainer_core.experiment.first_layers import feature_needs
from trainer_core.experiment.own_checks import (
    ABSENT,
    class_value,
    find_section,
    parameters_of,
    report_problem,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from policy_constructor.config import ResolvedConfig
    from policy_constructor.config.node import Path
    from policy_constructor.discovery.component import ComponentRef
    from policy_constructor.errors import Problem
    from trainer_core.discovery.plugins import Plugins
    from trainer_core.experiment.model_plans import ModelPlan
    from trainer_core.protocols import BatchShapes

__all__ = ["BatchCheck"]

_DECIDING = frozenset({"data", "params"})


class BatchCheck:
    """Holds `io`, the model's first layers and the trainer against the batches of the data set.

    A data set is known that well if its class has `batch_keys`: a literal tuple, or the name of a
    function `"module:function"` that returns a shape for each key; a trainer, if its class names
    the parameters that are batch keys in a literal `batch_key_parameters`.

    Args:
        resolved: The resolved file.
        full_ids: Full id of each component by its path.
        plugins: Where components are found.
        others: What else is wrong with the file; a data section with mistakes is left alone.

    Attributes:
        problems: What was found.
        absent: What the data section names that is not on this machine.
        shapes: What the batches hold; None if that is not known.
        unchecked: Warnings: a data set whose description failed.
    """

    def __init__(
        self,
        resolved: ResolvedConfig,
        full_ids: Mapping[Path, str],
        plugins: Plugins,
        others: Sequence[Problem] = (),
    ) -> None:
        self.resolved = resolved
        self.plugins = plugins
        self.full_ids = full_ids
        self.others = others
        self.problems: list[Problem] = []
        self.absent: list[Problem] = []
        self.shapes: BatchShapes | None = None
        self.unchecked: list[Problem] = []

    def check(self, models: Mapping[str, ModelPlan]) -> None:
        """Fill `problems` and `unchecked`.

        Args:
            models: The compiled models.
        """
        data = None if self._has_mistakes() else find_section(self.plugins, self.full_ids, "data")
        self.shapes = shapes = self._shapes(data) if data is not None else None
        if data is None or shapes is None:
            return
        if self.full_ids.get(("io",), "").endswith("io.mapping"):
            self.problems += self._missing_in_io(data.full_id, shapes)
            plan = next(iter(models.values())) if len(models) == 1 else None
            is_default = self.full_ids.get(("trainer",), "").endswith("trainer.default")
            if plan is not None and is_default:
                self.problems += self._misfits(data.full_id, shapes, plan)
        self.problems += self._missing_in_trainer(data.full_id, shapes, models)

    def _has_mistakes(self) -> bool:
        """Whether something in the data section is wrong already, or may be in a missing file."""
        section = self.resolved.node("data")
        return (
            section is None
            or self.resolved.incomplete
            or any(problem.path.partition(".")[0] in _DECIDING for problem in self.others)
            or any(node.poisoned for _, node in walk(section, ()))
        )

    def _shapes(self, data: ComponentRef) -> BatchShapes | None:
        """Return the shape of each key, None where it is not known; None if no key is known."""
        stated = class_value(data, "batch_keys")
        if isinstance(stated, ast.Tuple | ast.List):
            values = [item.value for item in stated.elts if isinstance(item, ast.Constant)]
            return {value: None for value in values if isinstance(value, str)} or None
        if isinstance(stated, ast.Constant) and isinstance(stated.value, str):
            return self._described(data, stated.value)
        return None

    def _described(self, data: ComponentRef, target: str) -> BatchShapes | None:
        """Ask the function that a data set names; its module is imported, and is light."""
        module, _, attr = target.partition(":")
        before = len(self.problems), len(self.absent)
        try:
            describe: Callable[..., BatchShapes | None] = getattr(import_module(module), attr)
            shapes = describe(parameters_of(self.resolved, "data", data), self._report)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - an author's function may do anything
            del self.problems[before[0] :], self.absent[before[1] :]
            reason = f"{target!r} failed: {type(error).__name__}: {error}"
            message = f"the batches of {data.full_id} are not known: {reason}"
            self.unchecked.append(self.resolved.problem(("data",), message, code="not-checked"))
            return None
        return shapes

    def _report(self, place: Path, message: str, *said: Any, **details: Any) -> None:
        """Record what a data set finds wrong with its parameters, at a value or a key."""
        problem = report_problem(self.resolved, ("data", *place), message, *said, **details)
        (self.absent if problem.code == ABSENT else self.problems).append(problem)

    def _missing_in_io(self, dataset: str, shapes: BatchShapes) -> Iterator[Problem]:
        for section in ("model_kwargs", "targets"):
            mapping = self.resolved.node("io", section)
            for name, path in mapping.items() if mapping is not None else ():
                first = path.child(0)
                if first is None or not isinstance(first.value, str) or first.value in shapes:
                    continue
                yield self.resolved.problem(
                    ("io", section, name, 0),
                    f"the batches of {dataset} have no {first.value!r}",
                    code="unknown-batch-key",
                    expected=f"one of {', '.join(shapes)}",
                    suggestions=nearest(first.value, shapes),
                )

    def _missing_in_trainer(
        self, dataset: str, shapes: BatchShapes, models: Mapping[str, ModelPlan]
    ) -> Iterator[Problem]:
        if self.full_ids.get(("trainer",), "").endswith("trainer.default"):
            return  # its inputs and targets are those of `io`
        trainer = find_section(self.plugins, self.full_ids, "trainer")
        stated = class_value(trainer, "batch_key_parameters") if trainer is not None else None
        signature = read_signature(trainer.target) if trainer is not None else None
        if trainer is None or signature is None or not isinstance(stated, ast.Dict):
            return
        unknown = [problem for problem in self.others if problem.code == "unknown-key"]
        misplaced = {problem.path.rpartition(".")[2] for problem in unknown}
        for name, component in ast.literal_eval(stated).items():
            if component is not None and component not in models:
                continue  # the trainer does not read it without that component
            node = self.resolved.node("trainer", name)
            parameter = signature.parameters.get(name)
            default = parameter.default if parameter is not None else None
            given = to_plain(node) if node is not None else default
            for place, key in _keys_in(given):
                if not isinstance(key, str) or key in shapes:
                    continue
                of_file = node is not None
                if not of_file and key in misplaced:
                    continue
                yield self.resolved.problem(
                    ("trainer", name, *place) if of_file else ("data",),
                    f"the batches of {dataset} have no {key!r}"
                    + ("" if of_file else f", the {name!r} of {trainer.full_id}"),
                    on="key" if not of_file or isinstance(given, dict) else "value",
                    code="unknown-batch-key",
                    expected=f"one of {', '.join(shapes)}",
                    suggestions=nearest(key, shapes),
                )

    def _misfits(self, dataset: str, shapes: BatchShapes, plan: ModelPlan) -> Iterator[Problem]:
        """Yield the inputs whose size is not what the layer takes that gets them first."""
        for need in feature_needs(plan.ir) if plan.ir is not None else ():
            path = self.resolved.node("io", "model_kwargs", need.input)
            keys = to_plain(path) if path is not None else None
            key = keys[0] if isinstance(keys, list) and len(keys) == 1 else None
            shape = shapes.get(key) if isinstance(key, str) else None
            found = need.size_in(shape) if shape is not None else None
            if found is None or found == need.size:
                continue
            where = f" at {need.layer.location}" if need.layer.location else ""
            yield self.resolved.problem(
                ("io", "model_kwargs", need.input),
                f"the input {need.input!r} has {found} {need.noun}, "
                f"{need.layer.key} takes {need.size}",
                code="shape",
                notes=(
                    f"{key!r} of {dataset} is {list(shape or ())} a sample",
                    f"{need.layer.key}{where} has {need.parameter} {need.size}",
                ),
            )


def _keys_in(value: Any) -> list[tuple[Path, Any]]:
    """Return the batch keys in a parameter, each with its place: a text, a list, or the keys."""
    if isinstance(value, dict):
        return [((key,), key) for key in value]
    if isinstance(value, list):
        return [((index,), key) for index, key in enumerate(value)]
    return [((), value)]
