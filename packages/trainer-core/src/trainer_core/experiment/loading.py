"""An experiment file -> a checked experiment: resolve, check components, validate, compile."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from policy_constructor.config import resolve_config, sort_problems
from policy_constructor.config.node import to_plain
from policy_constructor.errors import ConfigError
from trainer_core.discovery.plugins import discover
from trainer_core.discovery.recipes import find_config
from trainer_core.experiment.batch_keys import BatchCheck
from trainer_core.experiment.check import ENGINE_KEYS, ComponentCheck
from trainer_core.experiment.consequences import without_consequences
from trainer_core.experiment.cross_checks import check_together
from trainer_core.experiment.model_files import explain_missing, explain_override
from trainer_core.experiment.model_plans import ModelPlan, plan_models
from trainer_core.experiment.own_checks import OwnChecks
from trainer_core.experiment.patching import apply_config_hooks, set_runner
from trainer_core.experiment.schema import ComponentSection
from trainer_core.experiment.validation import check_removed_keys, validate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from policy_constructor.config import ResolvedConfig
    from policy_constructor.errors import Problem
    from trainer_core.discovery.plugins import Plugins
    from trainer_core.experiment.schema import ExperimentConfig

__all__ = ["SECTION_KEYS", "LoadedExperiment", "ModelPlan", "load_experiment"]

SECTION_KEYS = {
    **ENGINE_KEYS,
    "model": ComponentSection.ENGINE_KEYS,
    "models.*": ComponentSection.ENGINE_KEYS,
    "model.optimizer": ENGINE_KEYS["optimizer"],
    "models.*.optimizer": ENGINE_KEYS["optimizer"],
}


_WRONG = frozenset({"schema-version", "wrong-type"})
_UNKNOWN = frozenset({"left-over", "unknown-key"})


@dataclass
class LoadedExperiment:
    """A checked experiment: all that a runner needs, and nothing built yet.

    Attributes:
        resolved: The resolved file; every value knows where it was written.
        plugins: The components the run may use.
        models: The model's components by name.
        problems: Mistakes, in file order; empty unless it was loaded with `strict=False`.
        warnings: What could not be checked.
        absent: What the file names that is not on this machine, such as its data set.
        source: The file as messages name it.
        overrides: The command line's changes.
        validated: The experiment, or None if its engine keys have mistakes.
        component_count: How many components were checked.
        dry_run: Stop before the first step.
    """

    resolved: ResolvedConfig
    plugins: Plugins
    models: dict[str, ModelPlan]
    problems: list[Problem]
    warnings: list[Problem]
    source: str
    overrides: tuple[str, ...] = ()
    validated: ExperimentConfig | None = None
    component_count: int = 0
    absent: list[Problem] = field(default_factory=list)
    dry_run: bool = field(default=False)

    @property
    def config(self) -> ExperimentConfig:
        """The validated experiment.

        Raises:
            ConfigError: The file has mistakes.
        """
        if self.validated is None:
            raise ConfigError(self.problems)
        return self.validated


def load_experiment(
    config: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    plugins: Plugins | None = None,
    strict: bool = True,
    runner: str | None = None,
    hooks: bool = False,
) -> LoadedExperiment:
    """Load an experiment file and check all that can be checked before torch is imported.

    Args:
        config: A file, a recipe (`il/pick_place`), or the data itself.
        overrides: Changes as on the command line: `a.b=c`, `~a.b`, `+a.list=[x]`.
        plugins: What is installed; discovered when not given.
        strict: Raise when there are mistakes; else they are in `problems`.
        runner: A runner to use in place of the file's.
        hooks: Start the installed hook plugins and let them change the file.

    Raises:
        ConfigError: The file does not exist, or (with `strict`) has mistakes: all of them.
    """
    installed = discover() if plugins is None else plugins
    source = config if not isinstance(config, str | Path) else find_config(str(config), installed)
    resolved = resolve_config(
        source,
        overrides,
        find_recipe=installed.find_recipe,
        recipe_names=installed.recipe_names,
        strict=False,
        section_keys=SECTION_KEYS,
    )
    usable = _restricted(installed, resolved)
    if runner is not None and resolved.root.is_mapping:
        set_runner(resolved.root, runner)
    if hooks and usable.hooks and not resolved.problems:
        resolved.root = apply_config_hooks(resolved.root, usable.hook_manager())
    experiment = LoadedExperiment(
        resolved,
        usable,
        models={},
        problems=[],
        warnings=[],
        source=str(config) if isinstance(config, str | Path) else "<python>",
        overrides=tuple(overrides),
    )
    if resolved.root.is_mapping:
        _check(experiment)
    of_language = [
        explain_missing(explain_override(problem, resolved), usable)
        for problem in resolved.problems
    ]
    found = _once([*of_language, *experiment.problems])
    experiment.problems = sort_problems(without_consequences(found))
    if strict and experiment.problems:
        raise ConfigError(experiment.problems)
    return experiment


def _check(experiment: LoadedExperiment) -> None:
    """Fill in the models, the validated experiment, and every problem that can be found."""
    resolved = experiment.resolved
    removed = check_removed_keys(resolved)
    components = ComponentCheck(resolved, experiment.plugins)
    components.check_all()
    validated, mistakes = validate(
        resolved, components.full_ids, leave_out=removed, respelt=components.respelt
    )
    experiment.models, of_models = plan_models(resolved, experiment.plugins)
    experiment.validated = validated
    experiment.warnings = [*components.unchecked, *_model_warnings(experiment.models)]
    experiment.component_count = components.count
    found = [*removed.values(), *components.problems, *mistakes, *of_models]
    found += check_together(resolved, components.full_ids, experiment.models, components.respelt)
    others = [*resolved.problems, *found]
    batches = BatchCheck(resolved, components.full_ids, experiment.plugins, others)
    batches.check(experiment.models)
    found += batches.problems
    experiment.absent = batches.absent
    own = OwnChecks(resolved, components.full_ids, experiment.plugins, [*resolved.problems, *found])
    own.check(experiment.models, batches.shapes)
    found += own.problems
    experiment.warnings += [*batches.unchecked, *own.unchecked]
    if resolved.incomplete:  # what seems to be missing may be in the file that could not be read
        found = [problem for problem in found if not problem.code.startswith("missing-")]
    experiment.problems = found


def _once(problems: Sequence[Problem]) -> list[Problem]:
    """Leave out what says of a value again that it is wrong or has no place here."""
    said: set[tuple[str, bool]] = set()
    left = []
    for problem in problems:
        about = (problem.path, problem.code in _UNKNOWN)
        if problem.code not in _UNKNOWN | _WRONG or about not in said:
            left.append(problem)
        said.add(about)
    return left


def _model_warnings(models: Mapping[str, ModelPlan]) -> list[Problem]:
    return [warning for plan in models.values() if plan.ir for warning in plan.ir.warnings]


def _restricted(installed: Plugins, resolved: ResolvedConfig) -> Plugins:
    """Return the components that the file's `plugins:` section leaves."""
    disable, prefer = resolved.node("plugins", "disable"), resolved.node("plugins", "prefer")
    names = to_plain(disable) if disable is not None and disable.is_list else []
    choices = to_plain(prefer) if prefer is not None and prefer.is_mapping else {}
    return installed.restricted(
        disable=[name for name in names if isinstance(name, str)],
        prefer={
            kind: {key: dist for key, dist in chosen.items() if isinstance(dist, str)}
            for kind, chosen in choices.items()
            if isinstance(chosen, dict)
        },
    )
