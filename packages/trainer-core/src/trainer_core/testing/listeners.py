"""The checks of what listens to a run: callbacks, loggers, hook plugins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from trainer_core.discovery.hooking import start_hooks
from trainer_core.engine.hooks import Hooks
from trainer_core.testing import tiny
from trainer_core.testing.component import ComponentConformance
from trainer_core.testing.declaration import DeclaredConformance, installed, require

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["CallbackConformance", "HookPluginConformance", "LoggerConformance"]


class CallbackConformance(ComponentConformance):
    """Checks of a callback.

    Attributes:
        experiment: The experiment that it is added to: data, a file or a recipe.
        overrides: Changes to it, as on the command line.
    """

    kind = "cb"
    experiment: ClassVar[str | Mapping[str, Any]] = tiny.tiny_experiment()
    overrides: ClassVar[Sequence[str]] = ()

    def train(self, out_dir: Path, resume: str = "none") -> dict[str, Any]:
        """Train with the callback; return the weights at the end."""
        added = tiny.set_value("+callbacks", [self.spec()])
        experiment = tiny.build(self.experiment, out_dir, [*self.overrides, added])
        result = tiny.train(experiment, out_dir, resume)
        require(result.status == "completed", f"the run ended as {result.status!r}")
        return tiny.weights_of(experiment)

    def test_tc060_listens_to_known_hooks(self, tmp_path: Path) -> None:
        """Each of its hooks exists, is marked with `hookimpl` and takes the hook's arguments."""
        Hooks(start_hooks([])[0], [self.build(tmp_path)])

    def test_tc061_run_completes_with_it(self, tmp_path: Path) -> None:
        """A short run with it completes and leaves its checkpoints."""
        self.train(tmp_path / "run")
        require(any(tmp_path.glob("run/checkpoints/step-*")), "the run left no checkpoint")

    def test_tc062_resumed_run_equals_the_whole_one(self, tmp_path: Path) -> None:
        """A run that goes on from a checkpoint ends in the weights of the uninterrupted one."""
        whole = self.train(tmp_path / "run")
        half = next(tmp_path.glob(f"run/checkpoints/step-*{tiny.MIDDLE}"))
        resumed = self.train(tmp_path / "resumed", str(half))
        tiny.require_equal(resumed, whole, "a resumed run ends in other weights")


class LoggerConformance(ComponentConformance):
    """Checks of a logger."""

    kind = "log"

    def start(self, folder: Path, resumed_step: int | None = None) -> Any:
        """Return a logger that was started in a run folder."""
        logger = self.build(folder)
        run = {"name": "conformance", "out_dir": str(folder), "config": {}}
        logger.start({**run, "resumed_step": resumed_step})
        return logger

    def test_tc065_logs_and_finishes(self, tmp_path: Path) -> None:
        """It takes the metrics of some steps and closes."""
        logger = self.start(tmp_path)
        for step in (1, 2):
            logger.log({"loss": 1 / step, "epoch": 0.5}, step)
        logger.finish("completed")

    def test_tc066_takes_values_that_are_not_finite(self, tmp_path: Path) -> None:
        """A metric may be nan or infinite: the log of a run that diverges matters most."""
        logger = self.start(tmp_path)
        logger.log({"loss": math.nan, "grad_norm": math.inf}, 1)
        logger.finish("failed")

    def test_tc067_goes_on_after_a_resumed_step(self, tmp_path: Path) -> None:
        """A resumed run may start it again in the same folder, and a run may log nothing."""
        self.start(tmp_path).finish("interrupted")
        logger = self.start(tmp_path, resumed_step=1)
        logger.log({"loss": 1.0}, 2)
        logger.finish("completed")


class HookPluginConformance(DeclaredConformance):
    """Checks of a hook plugin; its key is `hook.NAME`, or `wheel::hook.NAME`."""

    def load(self) -> Any:
        """Register the plugin alone and return it."""
        ref = self.ref()
        manager, problems = start_hooks([ref])
        require(not problems, "; ".join(problems))
        return manager.get_plugin(f"{ref.dist}::{ref.key}")

    def test_tc090_listens_to_known_hooks(self) -> None:
        """It implements at least one hook, and none that does not exist."""
        ref = self.ref()
        manager, problems = start_hooks([ref])
        require(not problems, "; ".join(problems))
        plugin = manager.get_plugin(f"{ref.dist}::{ref.key}")
        callers = manager.get_hookcallers(plugin) or []
        require(callers, f"{ref.target} implements no hook: mark its functions with hookimpl")

    def test_tc091_run_completes_with_it(self, tmp_path: Path) -> None:
        """A short run with it completes."""
        ref = self.ref()
        experiment = tiny.build(tiny.tiny_experiment(), tmp_path / "run")
        listening = [ref.key for ref in installed().usable(installed().hooks)]
        require(ref.key in listening, f"{self.key} is switched off")
        result = tiny.train(experiment, tmp_path / "run")
        require(result.status == "completed", f"the run ended as {result.status!r}")
