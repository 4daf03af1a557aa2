"""What only importing shows: the components of a checked file, built without memory or data.

Models are built on torch's meta device, which has shapes and no numbers, and one batch of the
shapes that the data set describes goes through the trainer's loss. Nothing is recorded, downloaded
or written.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from policy_constructor.build import from_ir
from policy_constructor.errors import ConfigError, Problem
from trainer_core.engine.build import build_trainer
from trainer_core.engine.imported import check_imported
from trainer_core.engine.probe import describe_batch
from trainer_core.errors import TrainerError
from trainer_core.instantiate import instantiate, placed
from trainer_core.normalize import Normalizer
from trainer_core.step import LossTrainer, StepOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from policy_constructor.config.node import Path
    from trainer_core.experiment.loading import LoadedExperiment

__all__ = ["deep_check"]

_META = torch.device("meta")


def deep_check(loaded: LoadedExperiment) -> tuple[list[Problem], list[Problem]]:
    """Return the errors and warnings that the static checks of a file without errors left.

    Args:
        loaded: A checked experiment without problems.
    """
    check = _DeepCheck(loaded)
    check.run()
    return check.errors, check.warnings


class _DeepCheck:
    """The parts of a deep check, each after those it needs."""

    def __init__(self, loaded: LoadedExperiment) -> None:
        self.loaded = loaded
        self.errors, self.warnings = check_imported(loaded)

    def run(self) -> None:
        if self.errors:
            return
        models = self._models()
        batch = self._batch()
        config = self.loaded.config
        if config.evaluation is not None:
            with self._collected("evaluation"), placed(self.loaded.resolved, "evaluation"):
                instantiate(config.evaluation.component, self.loaded.plugins, kind="eval")
        if models is not None and not self.errors:
            self._step(models, batch)

    def _models(self) -> nn.ModuleDict | None:
        """Return the components on the meta device; None if one cannot be built there."""
        models = nn.ModuleDict()
        registries = self.loaded.plugins.registries
        for name, plan in self.loaded.models.items():
            is_named = self.loaded.resolved.node("models") is not None
            place: Path = ("models", name) if is_named else ("model",)
            with self._collected(*place), _META:
                models[name] = from_ir(plan.graph, blocks=registries["block"], ops=registries["op"])
        return models if len(models) == len(self.loaded.models) else None

    def _batch(self) -> Mapping[str, Any] | None:
        """Return a batch of the right shapes, if the data set can say what they are."""
        config = self.loaded.config
        name = config.data.component["_type_"]
        batch = None
        with self._collected("data"), placed(self.loaded.resolved, "data"):
            factory = instantiate(config.data.component, self.loaded.plugins, kind="data")
            describe = getattr(factory, "describe_batch", None)
            size = max(1, config.data.batch_size // config.trainer.grad_accum_steps)
            batch = describe(size) if describe is not None else None
            if batch is None:
                why = "there are no data yet" if describe else f"{name} has no 'describe_batch'"
                self._warn(("data",), f"no batch went through the model: {why}")
        return batch

    def _step(self, models: nn.ModuleDict, batch: Mapping[str, Any] | None) -> None:
        """Build the trainer and send the batch through its loss."""
        loaded = self.loaded
        trainer = None
        options = StepOptions(global_batch=loaded.config.data.batch_size)
        with self._collected("trainer"):
            trainer = build_trainer(loaded, models, {}, _META, options)
        if trainer is None or batch is None:
            return
        if not isinstance(trainer, LossTrainer):
            name = loaded.config.trainer.component["_type_"]
            message = f"no batch went through the model: {name} owns its whole step"
            self._warn(("trainer",), message)
            return
        notes = tuple(line.strip() for line in describe_batch(batch).splitlines())
        with self._collected("data", about="the data does not fit the model", notes=notes):
            normalized = Normalizer(None).normalize(dict(batch))
            context = trainer.make_context(normalized, step=0, epoch=0, training=False)
            models.eval()
            with torch.no_grad(), _META:
                trainer.compute_losses(normalized, context)

    @contextmanager
    def _collected(
        self, *place: Any, about: str = "", notes: tuple[str, ...] = ()
    ) -> Iterator[None]:
        """Turn what a component raises into a problem at its place in the file."""
        try:
            yield
        except ConfigError as error:
            if _is_about_meta(error.__cause__):
                self._not_on_meta(place, error.__cause__)
            else:
                self.errors += [self._with_place(problem, place) for problem in error.problems]
        except TrainerError as error:
            self._fail(place, str(error), notes)
        except Exception as error:  # noqa: BLE001 - a component may raise anything
            if _is_about_meta(error):
                self._not_on_meta(place, error)
            else:
                reason = str(error) or type(error).__name__
                self._fail(place, f"{about}: {reason}" if about else reason, notes)

    def _with_place(self, problem: Problem, place: Path) -> Problem:
        if problem.location is not None or problem.path:
            return problem
        return self.loaded.resolved.problem(place, problem.message, code=problem.code)

    def _fail(self, place: Path, message: str, notes: tuple[str, ...]) -> None:
        first, *rest = message.splitlines()
        details = (*(line.strip() for line in rest), *notes)
        self.errors.append(
            self.loaded.resolved.problem(place, first, code="deep", notes=tuple(details))
        )

    def _not_on_meta(self, place: Path, error: BaseException | None) -> None:
        reason = str(error).partition("\n")[0]
        self._warn(place, f"cannot be tried on the meta device, so its shapes are open: {reason}")

    def _warn(self, place: Path, message: str) -> None:
        self.warnings.append(self.loaded.resolved.problem(place, message, code="not-checked"))


def _is_about_meta(error: BaseException | None) -> bool:
    """Whether something needs numbers, which the meta device does not have."""
    return isinstance(error, NotImplementedError) or "meta tensor" in str(error).lower()
