"""Parts of the models that are trained only from a step on, or only up to one."""

from __future__ import annotations

from fnmatch import fnmatchcase
from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

from policy_constructor.errors import ConfigError, Problem
from policy_constructor.spelling import did_you_mean, nearest
from trainer_core.errors import UserError
from trainer_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import nn

    from trainer_core.engine.state import RunState
    from trainer_core.experiment.schema import ExperimentConfig

__all__ = ["FreezeSchedule"]

_KEYS = ("freeze_at", "unfreeze_at")
_NEVER = 2**62


class _Part(NamedTuple):
    """When the parameters that a pattern matches are frozen; the steps count from 0."""

    freeze_at: int | None
    unfreeze_at: int | None

    def is_frozen(self, step: int) -> bool:
        if self.unfreeze_at is None:
            return self.freeze_at is not None and step >= self.freeze_at
        if self.freeze_at is None:
            return step < self.unfreeze_at
        if self.freeze_at < self.unfreeze_at:
            return self.freeze_at <= step < self.unfreeze_at
        return step < self.unfreeze_at or step >= self.freeze_at


class FreezeSchedule:
    """Freezes and unfreezes parts of the models at certain steps.

        parts:
          backbone: {unfreeze_at: 1000}          # the first 1000 steps do not change it
          "policy/head.*": {freeze_at: 500}      # trained for 500 steps
          decoder: {freeze_at: 100, unfreeze_at: 200}

    A frozen parameter has no gradient, so neither the optimizer nor its weight decay moves it, it
    is no part of the clipped norm, and its optimizer state rests; that of a parameter which was
    never trained begins when it is unfrozen. A module whose parameters are all frozen is in eval
    mode, as with `models.<name>.freeze`: no dropout, no new batch statistics. What is frozen
    depends on the step alone, so a resumed run is exact on either side of a switch.

    With several processes, `runner: {_type_: ddp, find_unused_parameters: true}`: DDP waits for the
    gradient of every parameter that it was built with.

    Args:
        parts: For each component (`backbone`), or glob of `component/parameter`
            (`policy/head.*`), when it is frozen: `unfreeze_at` B alone: during the first B steps;
            `freeze_at` A alone: after A steps; both: from A to B, or up to B and again after A.
            A parameter is frozen while any of its entries says so.

    Raises:
        ValueError: An entry has no step, an unknown key, or one that is no step of a run.
    """

    def __init__(self, parts: Mapping[str, Mapping[str, int]]) -> None:
        if not parts:
            msg = "parts names nothing; write for example {backbone: {unfreeze_at: 1000}}"
            raise ValueError(msg)
        self.parts = {
            str(pattern): _read_part(str(pattern), part) for pattern, part in parts.items()
        }
        self._chosen: list[tuple[nn.Parameter, list[_Part]]] = []
        self._resting: list[nn.Module] = []

    @hookimpl
    def trainer_configure(self, config: ExperimentConfig, run: Mapping[str, Any]) -> None:
        """Refuse a runner that would wait for the gradients of what is frozen.

        Raises:
            ConfigError: It would.
        """
        is_ddp = str(config.runner.get("_type_")).rpartition(".")[2] == "ddp"
        is_ddp = is_ddp and config.runner.get("strategy") != "fsdp"
        if is_ddp and run["world_size"] > 1 and not config.runner.get("find_unused_parameters"):
            message = "freeze_schedule needs 'find_unused_parameters: true' with several processes"
            raise ConfigError(Problem(message, path="runner", code="needs-key"))

    @hookimpl
    def trainer_fit_start(self, state: RunState) -> None:
        """Find the parameters, freeze what is frozen now, and enter the switches.

        Raises:
            UserError: An entry matches nothing that is trained, or nothing is left to train.
        """
        self._chosen = self._choose(state)
        self._require_training(state)
        self._apply(state, state.step)
        switches = sorted(
            {step for part in self.parts.values() for step in part if step is not None}
        )

        def next_switch(step: int) -> int:
            return next((s for s in switches if s > step), _NEVER)

        timetable = state.timetable
        timetable.at_steps(next_switch, lambda: self._apply(state, state.step), timetable.LATER)

    @hookimpl
    def trainer_checkpoint_save(self, state: RunState, payload: dict[str, Any]) -> None:
        """Save the step, on which all depends."""
        payload["freeze_schedule"] = {"step": state.step}

    @hookimpl
    def trainer_checkpoint_load(
        self, state: RunState, payload: Mapping[str, Any], path: Path
    ) -> None:
        """Freeze what the checkpoint's step has frozen, if a run goes back while it trains."""
        del path
        if self._chosen and "freeze_schedule" in payload:
            self._apply(state, int(payload["freeze_schedule"]["step"]))

    @hookimpl
    def trainer_fit_end(self, state: RunState) -> None:
        """Leave the models as they were built."""
        for parameter, _ in self._chosen:
            parameter.requires_grad = True
        self._wake_modules(state)

    def _choose(self, state: RunState) -> list[tuple[nn.Parameter, list[_Part]]]:
        """Return the parameters that entries match, each with its entries."""
        trained = {
            id(parameter)
            for optimizer in state.optimizers.values()
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        names: dict[str, nn.Parameter] = {
            f"{component}/{name}": parameter
            for component, module in state.models.items()
            for name, parameter in module.named_parameters()
        }
        chosen: dict[int, tuple[nn.Parameter, list[_Part]]] = {}
        for pattern, part in self.parts.items():
            matched = [names[name] for name in names if _matches(pattern, name)]
            if not matched:
                raise UserError(_nothing(pattern, state, names))
            found = [parameter for parameter in matched if id(parameter) in trained]
            if not found:
                msg = (
                    f"freeze_schedule: {pattern!r} is never trained: models.{pattern.split('/')[0]}"
                    ".freeze takes it out for good; remove one of the two"
                )
                raise UserError(msg)
            for parameter in found:
                chosen.setdefault(id(parameter), (parameter, []))[1].append(part)
        return list(chosen.values())

    def _require_training(self, state: RunState) -> None:
        """Refuse a schedule that leaves steps with nothing to train.

        Raises:
            UserError: It does.
        """
        own = {id(parameter) for parameter, _ in self._chosen}
        if any(p.requires_grad and id(p) not in own for p in state.models.parameters()):
            return
        switches = {step for part in self.parts.values() for step in part if step is not None}
        for step in sorted({0, *switches}):
            is_all_frozen = all(_is_frozen(parts, step) for _, parts in self._chosen)
            if step < state.total_steps and is_all_frozen:
                msg = f"freeze_schedule: every parameter is frozen after {step} steps"
                raise UserError(msg)

    def _apply(self, state: RunState, step: int) -> None:
        """Freeze and unfreeze as a step has it."""
        for parameter, parts in self._chosen:
            is_frozen = _is_frozen(parts, step)
            if is_frozen and parameter.requires_grad:
                parameter.grad = None
            parameter.requires_grad = not is_frozen
        self._wake_modules(state)
        own = {id(parameter) for parameter, _ in self._chosen}
        for module in _resting_modules(state.models, own):
            module.eval()
            for part in module.modules():
                if "train" not in part.__dict__:
                    part.__dict__["train"] = MethodType(_stay_in_eval_mode, part)
                    self._resting.append(part)

    def _wake_modules(self, state: RunState) -> None:
        for module in self._resting:
            module.__dict__.pop("train", None)
            module.training = state.models.training
        self._resting = []


def _is_frozen(parts: list[_Part], step: int) -> bool:
    return any(part.is_frozen(step) for part in parts)


def _read_part(pattern: str, part: Any) -> _Part:
    steps = dict(part) if hasattr(part, "items") else {}
    unknown = [key for key in steps if key not in _KEYS]
    if unknown:
        near = did_you_mean(nearest(str(unknown[0]), _KEYS))
        msg = f"parts.{pattern} has freeze_at and unfreeze_at, not {unknown[0]!r}{near}"
        raise ValueError(msg)
    freeze_at, unfreeze_at = (steps.get(key) for key in _KEYS)
    given = [step for step in (freeze_at, unfreeze_at) if step is not None]
    if not given:
        msg = f"parts.{pattern} needs freeze_at, unfreeze_at or both; got {part!r}"
        raise ValueError(msg)
    if any(isinstance(step, bool) or not isinstance(step, int) or step < 0 for step in given):
        msg = f"parts.{pattern}: steps are whole numbers from 0, got {part!r}"
        raise ValueError(msg)
    if freeze_at == unfreeze_at:
        msg = f"parts.{pattern} is frozen and unfrozen at the same step {freeze_at}"
        raise ValueError(msg)
    return _Part(freeze_at, unfreeze_at)


def _matches(pattern: str, name: str) -> bool:
    return fnmatchcase(name if "/" in pattern else name.partition("/")[0], pattern)


def _nothing(pattern: str, state: RunState, names: Mapping[str, Any]) -> str:
    known = names if "/" in pattern else list(state.models)
    near = did_you_mean(nearest(pattern, known))
    there = f"the components are {', '.join(state.models)}"
    how = "write a component or a glob of component/parameter"
    return f"freeze_schedule: {pattern!r} matches no parameter{near or f'; {how}'} ({there})"


def _resting_modules(module: nn.Module, chosen: set[int]) -> Iterator[nn.Module]:
    """Yield the outermost modules that have parameters, all frozen and some of them by us."""
    parameters = list(module.parameters())
    if not parameters:
        return
    is_resting = not any(parameter.requires_grad for parameter in parameters)
    if is_resting and any(id(parameter) in chosen for parameter in parameters):
        yield module
        return
    for child in module.children():
        yield from _resting_modules(child, chosen)


def _stay_in_eval_mode(module: nn.Module, mode: bool = True) -> nn.Module:  # noqa: ARG001 - as Module.train
    return module
