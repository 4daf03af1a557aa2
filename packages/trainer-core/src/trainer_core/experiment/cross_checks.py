"""What the sections of a file must agree on; checked once each of them is right by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_constructor.config.node import dotted
from policy_constructor.spelling import nearest
from trainer_core.experiment.check import component_paths
from trainer_core.experiment.schema import ExperimentConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from policy_constructor.config import ResolvedConfig
    from policy_constructor.config.node import Key, Node, Path
    from policy_constructor.errors import Problem
    from trainer_core.experiment.model_plans import ModelPlan

__all__ = ["check_together"]

_LENGTHS = frozenset({"max_steps", "max_epochs"})


def check_together(
    resolved: ResolvedConfig,
    full_ids: dict[Path, str],
    models: dict[str, ModelPlan],
    respelt: AbstractSet[Path] = frozenset(),
) -> list[Problem]:
    """Return the problems between sections.

    Args:
        resolved: The resolved file.
        full_ids: Full id of each component by its path.
        models: The compiled models.
        respelt: Keys that are missing because they are misspelt, which was reported.
    """
    problems = [*_length_of_training(resolved, respelt), *_optimizers(resolved)]
    trainer = full_ids.get(("trainer",))
    if trainer is not None and trainer.endswith("trainer.default"):
        problems += _needs_of_default_trainer(resolved)
    if full_ids.get(("io",), "").endswith("io.mapping") and len(models) == 1:
        problems += _model_inputs(resolved, next(iter(models.values())))
    for path in [(), *component_paths(resolved)]:
        if (*path, "scheduler", "monitor") not in respelt:
            problems += _monitored_metric(resolved, full_ids, (*path, "scheduler"))
    problems += _plain_optimizer_arguments(resolved)
    problems += _clipped_components(resolved)
    return problems


def _clipped_components(resolved: ResolvedConfig) -> Iterator[Problem]:
    """A mapping in `trainer.grad_clip_norm` names components."""
    limits = resolved.node("trainer", "grad_clip_norm")
    names = [str(path[-1]) for path in component_paths(resolved)]
    for name, _ in limits.items() if limits is not None and limits.is_mapping else ():
        if name not in names:
            yield resolved.problem(
                ("trainer", "grad_clip_norm", name),
                f"there is no component {name!r}",
                on="key",
                code="unknown-component",
                expected=f"one of {', '.join(names)}",
                suggestions=nearest(str(name), names),
            )


def _length_of_training(resolved: ResolvedConfig, respelt: AbstractSet[Path]) -> Iterator[Problem]:
    trainer = resolved.node("trainer")
    if trainer is None or trainer.poisoned or not trainer.is_mapping:
        return
    steps, epochs = trainer.child("max_steps"), trainer.child("max_epochs")
    has_steps = steps is not None and (steps.value is not None or steps.poisoned)
    has_epochs = epochs is not None and (epochs.value is not None or epochs.poisoned)
    if has_steps and has_epochs:
        message = "'max_steps' and 'max_epochs' exclude each other"
        yield resolved.problem(
            ("trainer", "max_epochs"), message, on="key", code="conflicting-keys"
        )
    elif not (has_steps or has_epochs or {place[-1] for place in respelt} & _LENGTHS):
        message = "trainer needs 'max_steps' or 'max_epochs'"
        yield resolved.problem(("trainer",), message, code="missing-key")


def _optimizers(resolved: ResolvedConfig) -> Iterator[Problem]:
    """Every trained component has an optimizer: its own, or the file's."""
    if _is_given(resolved, "optimizer") or _is_misspelt(resolved.root, "optimizer"):
        return
    trained = [path for path in component_paths(resolved) if not _is_frozen(resolved, path)]
    without = [path for path in trained if not _is_given(resolved, *path, "optimizer")]
    if without and without == trained:
        names = ", ".join(map(dotted, without))
        message = f"the file needs 'optimizer': nothing trains {names}"
        yield resolved.problem((), message, code="missing-key")
        return
    for path in without:
        message = f"{dotted(path)} is trained and needs 'optimizer', its own or the file's"
        yield resolved.problem(path, message, code="missing-key")


def _is_given(resolved: ResolvedConfig, *path: Key) -> bool:
    node = resolved.node(*path)
    return node is not None and (node.poisoned or node.value is not None)


def _is_frozen(resolved: ResolvedConfig, path: Path) -> bool:
    freeze = resolved.node(*path, "freeze")
    return freeze is not None and (freeze.poisoned or freeze.value is True)


def _is_misspelt(root: Node, key: str) -> bool:
    """Whether a top-level key that does not exist is spelt like one that is missing."""
    unknown = [name for name, _ in root.items() if name not in ExperimentConfig.model_fields]
    return any(key in nearest(str(name), [key], 1) for name in unknown)


def _needs_of_default_trainer(resolved: ResolvedConfig) -> Iterator[Problem]:
    for section in ("io", "loss"):
        if not _is_given(resolved, section) and not _is_misspelt(resolved.root, section):
            message = f"the file needs {section!r}, which trainer.default takes"
            yield resolved.problem((), message, code="missing-key")
    models = resolved.node("models")
    if models is not None and models.is_mapping and len(models.value) > 1:
        message = f"trainer.default trains one model, not {', '.join(models.value)}"
        yield resolved.problem(("models",), message, on="key", code="conflicting-keys")


def _model_inputs(resolved: ResolvedConfig, model: ModelPlan) -> Iterator[Problem]:
    """`io.model_kwargs` names exactly the inputs of the model."""
    node = resolved.node("io", "model_kwargs")
    if model.ir is None or node is None or not node.is_mapping:
        return
    known = [spec.name for spec in model.ir.input_specs] or list(model.ir.inputs)
    missing = [name for name in model.ir.inputs if name not in node.value]
    for name in node.value:
        if name in known or model.ir.open_inputs:
            continue
        near = nearest(name, missing)
        missing = [other for other in missing if other not in near[:1]]
        yield resolved.problem(
            ("io", "model_kwargs", name),
            f"the model has no input {name!r}",
            on="key",
            code="unknown-input",
            expected=f"the model's inputs: {', '.join(known)}",
            suggestions=near,
        )
    for name in missing:
        message = f"io.model_kwargs lacks the model's input {name!r}"
        yield resolved.problem(("io", "model_kwargs"), message, code="missing-input")


def _monitored_metric(
    resolved: ResolvedConfig, full_ids: dict[Path, str], path: Path
) -> Iterator[Problem]:
    """`interval: metric` needs a metric to watch, and something that measures it."""
    interval = resolved.node(*path, "interval")
    if path not in full_ids or interval is None or interval.value != "metric":
        return
    monitor = resolved.node(*path, "monitor")
    if monitor is None or (monitor.value is None and not monitor.poisoned):
        message = "'interval: metric' needs 'monitor', the name of a metric"
        yield resolved.problem((*path, "interval"), message, code="missing-key")
    elif str(monitor.value).startswith("val/") and not _is_validated(resolved):
        yield resolved.problem(
            (*path, "monitor"),
            f"{monitor.value!r} is measured only at the end of the run",
            code="no-check",
            expected="trainer.val_every_n_steps, the steps between two validations",
        )
    elif not _is_measured(resolved, str(monitor.value)):
        yield resolved.problem(
            (*path, "monitor"),
            f"nothing measures {monitor.value!r}",
            code="unknown-metric",
            expected="an 'evaluation' with 'every' steps, or a metric of the validation, 'val/...'",
        )


def _is_validated(resolved: ResolvedConfig) -> bool:
    if resolved.node("trainer") is None or _is_given(resolved, "trainer", "val_every_n_steps"):
        return True
    trainer = resolved.root.child("trainer")
    unknown = [str(name) for name, _ in trainer.items()] if trainer is not None else []
    return any("val_every_n_steps" in nearest(name, ["val_every_n_steps"], 1) for name in unknown)


def _is_measured(resolved: ResolvedConfig, metric: str) -> bool:
    if metric.startswith("val/"):
        return True
    evaluation, every = resolved.node("evaluation"), resolved.node("evaluation", "every")
    if evaluation is None or evaluation.value is None:
        return evaluation is not None and evaluation.poisoned
    return every is not None and (every.poisoned or bool(every.value))


def _plain_optimizer_arguments(resolved: ResolvedConfig) -> Iterator[Problem]:
    """An optimizer's arguments are data: no components among them."""
    paths: list[Path] = [("optimizer",), *((*p, "optimizer") for p in component_paths(resolved))]
    for path in paths:
        node = resolved.node(*path)
        for key, child in node.items() if node is not None and node.is_mapping else ():
            yield from _components_below(resolved, (*path, key), child)


def _components_below(resolved: ResolvedConfig, path: Path, node: Node) -> Iterator[Problem]:
    if node.is_mapping and ("_type_" in node.value or "_target_" in node.value):
        message = "an optimizer's arguments are plain values, not components"
        yield resolved.problem(path, message, code="no-component")
        return
    for key, child in node.items():
        yield from _components_below(resolved, (*path, key), child)
