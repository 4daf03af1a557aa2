"""What `trainer eval` is told -> an evaluator's spec and the trainer's changes, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from policy_constructor.config import resolve_config, sort_problems
from policy_constructor.errors import ConfigError
from policy_constructor.spelling import nearest
from trainer_core.errors import UserError
from trainer_core.experiment.check import ComponentCheck
from trainer_core.experiment.loading import SECTION_KEYS
from trainer_core.experiment.schema import EvaluationSection, TrainerSection

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from trainer_core.discovery.plugins import Plugins

__all__ = ["EvaluationPlan", "plan_evaluation"]

_ENV = re.compile(r"(?P<name>(?:[^:]|::)+)(?::(?P<task>[^:].*))?")
_SECTIONS = ("evaluation.", "trainer.")


@dataclass(frozen=True)
class EvaluationPlan:
    """What to evaluate with.

    Attributes:
        evaluator: The evaluator's spec: `_type_` and its parameters.
        parameters: Parameters of the trainer that are to be other than in training.
        label: Name of the evaluator and its task, fit for a folder's name.
    """

    evaluator: dict[str, Any]
    parameters: dict[str, Any]
    label: str


def plan_evaluation(
    config: Mapping[str, Any],
    env: str | None,
    changes: Sequence[str],
    plugins: Plugins,
) -> EvaluationPlan:
    """Return what to evaluate with; nothing is imported or built.

    Args:
        config: The policy's experiment, of which `evaluation` and `trainer` are read.
        env: `NAME` or `NAME:TASK` of an evaluator; None: the `evaluation:` section. Parameters of
            that section are kept where the evaluator is the same.
        changes: Overrides: `key=value` of the evaluator, `trainer.key=value` of the trainer.
        plugins: Where components are found.

    Raises:
        ConfigError: There is no such evaluator or parameter, or a value does not fit.
        UserError: The experiment has no `evaluation:` section and `env` is not given, or `env` is
            a task without its evaluator.
    """
    own = config.get("evaluation")
    if env is None and not own:
        names = plugins.registries["eval"].keys()
        message = (
            "the run has no evaluation: section; name an evaluator with --env NAME:TASK "
            f"(installed: {', '.join(sorted(names)) or 'none'})"
        )
        raise UserError(message)
    if env is not None:
        _refuse_bare_task(env, plugins.registries["eval"])
    trainer = config.get("trainer") or {}
    sections = {"evaluation": own if env is None else _named(env, own), "trainer": trainer}
    overrides = [change if _has_section(change) else _in_evaluation(change) for change in changes]
    resolved = resolve_config(
        _literal(sections), overrides, strict=False, section_keys=SECTION_KEYS
    )
    check = ComponentCheck(resolved, plugins)
    check.check_all()
    problems = sort_problems([*resolved.problems, *check.problems])
    if problems:
        raise ConfigError(problems)
    evaluation, now = resolved.data["evaluation"], resolved.data["trainer"]
    changed = {key: value for key, value in now.items() if trainer.get(key, _ABSENT) != value}
    _refuse_training(changed)
    engine = EvaluationSection.engine_keys()
    spec = {key: value for key, value in evaluation.items() if key not in engine}
    return EvaluationPlan(spec, changed, _label(spec))


_ABSENT = object()


def _named(env: str, own: Any) -> dict[str, Any]:
    """Return the section that `NAME:TASK` means."""
    match = _ENV.fullmatch(env)
    if match is None:
        message = f"--env {env!r}: write NAME:TASK, such as metaworld:pick-place-v3"
        raise UserError(message)
    name, task = match["name"], match["task"]
    kept = dict(own) if own and _bare(str(own.get("_type_"))) == _bare(name) else {}
    return {**kept, "_type_": name} | ({} if task is None else {"task": task})


def _refuse_bare_task(env: str, installed: Collection[str]) -> None:
    """Refuse what is no evaluator's name nor near one: probably a task without its evaluator."""
    names = sorted(map(_bare, installed))
    name = _bare(env)
    if not {".", ":"} & set(name) and name not in names and not nearest(name, names):
        message = (
            f"--env {env!r}: write NAME:TASK, such as metaworld:pick-place-v3 "
            f"(installed: {', '.join(names) or 'none'})"
        )
        raise UserError(message)


def _bare(name: str) -> str:
    return name.removeprefix("eval.")


def _has_section(change: str) -> bool:
    return change.lstrip("~+").startswith(_SECTIONS)


def _in_evaluation(change: str) -> str:
    """Return an override of the evaluator's parameter as one of the experiment."""
    mark = change[:1] if change[:1] in {"~", "+"} else ""
    return f"{mark}evaluation.{change.removeprefix(mark)}"


def _literal(value: Any) -> Any:
    """Return plain data in which no text is read as a reference."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _literal(child) for key, child in value.items()}
    return [_literal(child) for child in value] if isinstance(value, list | tuple) else value


def _refuse_training(changed: Mapping[str, Any]) -> None:
    """Refuse settings of the training, which would change nothing here."""
    idle = sorted(changed.keys() & TrainerSection.engine_keys())
    if idle:
        message = f"trainer.{idle[0]} is about training: an evaluation does not read it"
        raise UserError(message)


def _label(spec: Mapping[str, Any]) -> str:
    task = spec.get("task")
    words = [_bare(str(spec["_type_"])), *([task] if isinstance(task, str) else [])]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(words)).strip("-.")
