"""One component for each check of the kit that it must fail."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainer_core.hookspecs import hookimpl
from trainer_core.results import RunResult
from trainer_core.runners import LocalRunner

CALLS = itertools.count()


class Undocumented:
    def build(self) -> nn.Module:
        return nn.MSELoss()


class AnyKeyword(Undocumented):
    """Takes whatever it is given."""

    def __init__(self, **kwargs: Any) -> None:
        self.kwargs = kwargs


class NeedsDelta(Undocumented):
    """Has no default."""

    def __init__(self, delta: float) -> None:
        self.delta = delta


class Unsendable(Undocumented):
    """Holds what cannot be pickled."""

    def __init__(self) -> None:
        self.function = lambda value: value


class Vector:
    """Builds a loss per sample."""

    def build(self) -> nn.Module:
        return nn.MSELoss(reduction="none")


class NoBuild:
    """Lacks the method of its protocol."""


class Drifting:
    """Other samples each time."""

    def build(self, opt_params: Any, params: Any) -> dict[str, Any]:
        value = float(next(CALLS))
        return {"dataset": [{"x": torch.full((2,), value)}] * 3, "norm_stats": {}}


class WrongStatistics:
    """Statistics of a key that no batch has."""

    def build(self, opt_params: Any, params: Any) -> dict[str, Any]:
        stats = {"z": {"mode": "min_max", "min": [0.0], "max": [1.0]}}
        return {"dataset": [{"x": torch.zeros(2)}] * 3, "norm_stats": stats}


class IdleBlock(nn.Module):
    """Has a parameter that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        return x


class HiddenState(nn.Module):
    """Draws something at construction that the state_dict does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = float(torch.rand(()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.offset


class Upwards:
    """Climbs."""

    def build(self, params: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, lr=0.1, maximize=True)


class Forgetful(torch.optim.SGD):
    """Saves nothing of its momentum."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "state": {}}


class ForgetfulFactory:
    """Builds the optimizer above."""

    def build(self, params: Any) -> torch.optim.Optimizer:
        return Forgetful(params, lr=0.01, momentum=0.9)


class Idle:
    """A trainer that does nothing."""

    def __init__(self, models: Any, optimizers: Any, loss: Any, device: Any) -> None:
        del models, optimizers, loss, device

    def train_step(
        self, data: Any, *, epoch: int, total_epochs: int, iterations: int, **kwargs: Any
    ) -> dict[str, Any]:
        return {"loss": float("nan")}


class Counting(Idle):
    """A trainer whose weights depend on how often the process has trained before."""

    def __init__(self, models: Any, optimizers: Any, loss: Any, device: Any) -> None:
        self.models = models

    @torch.no_grad()
    def train_step(
        self, data: Any, *, epoch: int, total_epochs: int, iterations: int, **kwargs: Any
    ) -> dict[str, Any]:
        next(self.models.parameters()).fill_(float(next(CALLS)))
        return {"loss": 0.0}


class Touching:
    """An evaluator that changes the weights."""

    @torch.no_grad()
    def evaluate(self, context: Any) -> dict[str, Any]:
        next(context.models.parameters()).add_(1)
        return {"score": 1.0}


class Words:
    """An evaluator without a number."""

    def evaluate(self, context: Any) -> dict[str, Any]:
        return {"verdict": "fine"}


class Fragile:
    """A logger that wants whole numbers."""

    def start(self, run: Any) -> None:
        del run

    def log(self, metrics: Any, step: int) -> None:
        [int(value) for value in metrics.values()]

    def finish(self, status: str) -> None:
        del status


class Deaf:
    """A callback that listens to nothing."""


class Shaking:
    """A callback whose effect depends on the process."""

    @hookimpl
    def trainer_step_end(self, state: Any) -> None:
        with torch.no_grad():
            next(state.models.parameters()).add_(float(next(CALLS)))


class Writing:
    """A runner that refuses too late."""

    def run(self, experiment: Any) -> Any:
        return experiment


class EmptyData:
    """A data set without a sample."""

    def build(self, opt_params: Any, params: Any) -> dict[str, Any]:
        return {"dataset": [], "norm_stats": {}}


class WordData:
    """Samples without a tensor."""

    def build(self, opt_params: Any, params: Any) -> dict[str, Any]:
        return {"dataset": [{"task": "reach"}] * 3, "norm_stats": {}}


class _Flat(nn.Module):
    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return 0 * (prediction - target).sum()


class Flat:
    """A loss that nothing lowers."""

    def build(self) -> nn.Module:
        return _Flat()


class Nameless:
    """An optimizer that loses the names of its groups."""

    def build(self, params: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD([group["params"][0] for group in params], lr=0.1)


class _Lost(torch.optim.lr_scheduler.StepLR):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        del state_dict


class Hourly:
    """A schedule with an unknown interval, which also loads no state."""

    interval = "hour"

    def build(self, optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
        del total_steps
        return _Lost(optimizer, step_size=5)


class Raising:
    """A callback, and a hook plugin, that stops every run."""

    @hookimpl
    def trainer_fit_start(self) -> None:
        msg = "not today"
        raise RuntimeError(msg)


RAISING = Raising()


class Hooked:
    """Gives a name by hook to what an entry point should declare."""

    @hookimpl
    def trainer_register_components(self, registrar: Any) -> None:
        registrar.add("loss", "hooked", "bad_parts:Vector")


HOOKED = Hooked()


class Once:
    """A logger that cannot be started twice, nor write."""

    def start(self, run: Any) -> None:
        (Path(run["out_dir"]) / "log").touch(exist_ok=False)

    def log(self, metrics: Any, step: int) -> None:
        msg = "read-only"
        raise OSError(msg)

    def finish(self, status: str) -> None:
        del status


class Dividing:
    """An evaluator that cannot stop early."""

    def evaluate(self, context: Any) -> dict[str, Any]:
        episodes = 0 if context.interrupted() else 2
        return {"rate": 1 / episodes}


class Lazy:
    """A runner that does nothing."""

    def run(self, experiment: Any) -> Any:
        return RunResult("checked", 0)


class Eager:
    """A runner that trains in a dry run."""

    def run(self, experiment: Any) -> Any:
        experiment.dry_run = False
        return LocalRunner().run(experiment)


class NoInputs:
    """An io mapping that hands nothing to the model."""

    def model_inputs(self, batch: Any) -> dict[str, Any]:
        del batch
        return {}

    def loss_targets(self, batch: Any) -> dict[str, Any]:
        return {"y": batch["y"]}


class Popping(NoInputs):
    """An io mapping that takes the targets out of the batch."""

    def loss_targets(self, batch: Any) -> dict[str, Any]:
        return {"y": batch.pop("y")}


class NoNumber:
    """A metric whose value is nan."""

    def update(self, prediction: Any, batch: Any) -> None: ...

    def compute(self) -> dict[str, float]:
        return {"error": float("nan")}


class Remembering(NoNumber):
    """A metric that begins only once."""

    def __init__(self) -> None:
        self.count = 0

    def update(self, prediction: Any, batch: Any) -> None:
        self.count += 1

    def compute(self) -> dict[str, float]:
        return {"count": self.count}


class Scaling(Remembering):
    """A metric that works in place."""

    def update(self, prediction: Any, batch: Any) -> None:
        prediction -= batch["y"]


def first_row(weight: Tensor) -> None:
    """Fill the first row alone."""
    weight[0] = 0.0


def own_dice(weight: Tensor) -> None:
    """Draw from a generator of its own."""
    weight.fill_(float(next(CALLS)))


def add_in_place(a: Tensor, b: Tensor) -> Tensor:
    """Add to the first argument."""
    return a.add_(b)


def main(argv: list[str]) -> int:
    """Explain nothing."""
    return sys.stdout.write(f"{argv}") * 0
