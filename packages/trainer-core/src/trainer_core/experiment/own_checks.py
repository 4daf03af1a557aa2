"""What components say themselves about their parameters, before anything heavy is imported."""

from __future__ import annotations

import ast
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from policy_constructor.config.node import to_plain
from policy_constructor.discovery.errors import RegistryError
from policy_constructor.graph.ir import SpecIR
from policy_constructor.signatures.signature import read_signature
from policy_constructor.source.static import class_attribute, find_attribute
from trainer_core.discovery.names import POSITIONS
from trainer_core.experiment.check import ENGINE_KEYS
from trainer_core.protocols import FileView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from policy_constructor.config import ResolvedConfig
    from policy_constructor.config.node import Path
    from policy_constructor.discovery.component import ComponentRef
    from policy_constructor.errors import Problem
    from trainer_core.discovery.plugins import Plugins
    from trainer_core.experiment.model_plans import ModelPlan
    from trainer_core.protocols import BatchShapes

__all__ = ["ABSENT", "OwnChecks", "class_value", "find_section", "parameters_of", "report_problem"]

ABSENT = "missing-data"
"""Code of what a file names that is not on this machine."""
_SECTIONS = ("runner", "trainer", "evaluation", "optimizer")
_SHARED = frozenset({"", "data", "defaults", "model", "models", "params"})
_MISPLACED = frozenset({"left-over", "unknown-key", "unused-parameter"})
_WITHOUT_KEYS = frozenset({"torch"})


class OwnChecks:
    """Calls the `parameter_check` that the classes of four sections name, see `_SECTIONS`.

    Args:
        resolved: The resolved file.
        full_ids: Full id of each component by its path.
        plugins: Where components are found.
        others: What else is wrong with the file; nothing is asked that may follow from it.

    Attributes:
        problems: What was found.
        unchecked: Warnings: a check that failed itself.
    """

    def __init__(
        self,
        resolved: ResolvedConfig,
        full_ids: Mapping[Path, str],
        plugins: Plugins,
        others: Sequence[Problem] = (),
    ) -> None:
        self.resolved = resolved
        self.full_ids = full_ids
        self.plugins = plugins
        self.wrong = {problem.path.partition(".")[0] for problem in others}
        self.misses_keys = any(problem.code in _MISPLACED for problem in others)
        self.problems: list[Problem] = []
        self.unchecked: list[Problem] = []

    def check(self, models: Mapping[str, ModelPlan], batches: BatchShapes | None) -> None:
        """Fill `problems` and `unchecked`.

        Args:
            models: The compiled models.
            batches: Shapes of the batches as far as they are known.
        """
        if self.resolved.incomplete or self.misses_keys or self.wrong & _SHARED:
            return
        view: FileView | None = None
        for section in _SECTIONS:
            ref = find_section(self.plugins, self.full_ids, section)
            stated = class_value(ref, "parameter_check") if ref is not None else None
            if ref is None or section in self.wrong or not isinstance(stated, ast.Constant):
                continue
            view = view or self._view(models, batches)
            self._call(section, ref, str(stated.value), view)

    def _view(self, models: Mapping[str, ModelPlan], batches: BatchShapes | None) -> FileView:
        blocks = {
            name: _with_defaults(plan.ir.block)
            for name, plan in models.items()
            if plan.ir is not None and isinstance(plan.ir.block, SpecIR)
        }
        sections = {
            name: {} if name in self.wrong and not isinstance(given, dict) else given
            for name, given in to_plain(self.resolved.root).items()
        }
        return FileView(sections=sections, batches=batches, blocks=blocks)

    def _call(self, section: str, ref: ComponentRef, target: str, view: FileView) -> None:
        found: list[Problem] = []
        module, _, attr = target.partition(":")

        def report(place: Path, message: str, *said: Any, **details: Any) -> None:
            found.append(report_problem(self.resolved, place, message, *said, **details))

        try:
            check: Callable[..., None] = getattr(import_module(module), attr)
            check(parameters_of(self.resolved, section, ref), report, view)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - an author's function may do anything
            reason = f"{target!r} failed: {type(error).__name__}: {error}"
            message = f"what {ref.full_id} checks itself is not known: {reason}"
            self.unchecked.append(self.resolved.problem((section,), message, code="not-checked"))
            return
        self.problems += found


def report_problem(
    resolved: ResolvedConfig,
    path: Path,
    message: str,
    suggestions: tuple[str, ...] = (),
    *,
    on: Literal["key", "value"] | None = None,
    absent: bool = False,
) -> Problem:
    """Return what a component finds wrong at a path of the file, as `ParameterReport` says it."""
    parent = resolved.node(*path[:-1])
    is_key = bool(suggestions) and parent is not None and parent.is_mapping
    problem = resolved.problem(
        path,
        message,
        on=on or ("key" if is_key else "value"),
        code="wrong-value",
        suggestions=suggestions,
    )
    return replace(problem, code="missing-data") if absent else problem


def find_section(
    plugins: Plugins, full_ids: Mapping[Path, str], section: str
) -> ComponentRef | None:
    """Return the component of a section; None if it has none, or none that is installed."""
    name = full_ids.get((section,))
    try:
        return plugins.find(name, POSITIONS[section]) if name is not None else None
    except RegistryError:
        return None


def class_value(ref: ComponentRef, name: str) -> ast.AST | None:
    """Return the expression that a class attribute is set to."""
    found = find_attribute(ref.module, ref.attr)
    stated = class_attribute(found, name, _WITHOUT_KEYS) if found is not None else None
    return stated.node if stated is not None else None


def parameters_of(resolved: ResolvedConfig, section: str, ref: ComponentRef) -> dict[str, Any]:
    """Return the parameters of a section's component, with the defaults of its constructor."""
    node, engine = resolved.node(section), ENGINE_KEYS.get(section, frozenset())
    parameters = {
        str(key): to_plain(child)
        for key, child in (node.items() if node is not None else ())
        if key not in engine and key != "_type_"
    }
    return {**_defaults(ref.target), **parameters}


def _with_defaults(spec: SpecIR) -> SpecIR:
    return replace(spec, kwargs={**_defaults(spec.target), **spec.kwargs})


def _defaults(target: str) -> dict[str, Any]:
    signature = read_signature(target)
    parameters = signature.parameters if signature is not None else {}
    return {name: each.default for name, each in parameters.items() if not each.required}
