"""The checks of what a run is driven by: trainers, evaluators, runners."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from policy_constructor.errors import ConfigError
from trainer_core.errors import UserError
from trainer_core.experiment.loading import load_experiment
from trainer_core.instantiate import instantiate
from trainer_core.protocols import EvaluationContext
from trainer_core.testing import tiny
from trainer_core.testing.component import ComponentConformance
from trainer_core.testing.declaration import require

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from trainer_core.engine.built import Experiment

__all__ = ["EvaluatorConformance", "RunnerConformance", "TrainerConformance"]


class TrainerConformance(ComponentConformance):
    """Checks of a trainer, in an experiment that brings its models and data.

    Attributes:
        experiment: The experiment that it trains: data, a file or a recipe. Its `trainer:` section
            is exchanged for this one. By default a small regression, model `model`, batch keys
            `x` (4, 3) and `y` (4, 2).
        overrides: Changes to it, as on the command line.
    """

    kind = "trainer"
    experiment: ClassVar[str | Mapping[str, Any]] = tiny.tiny_experiment()
    overrides: ClassVar[Sequence[str]] = ()

    def build_experiment(self, folder: Path) -> Experiment:
        """Build the experiment with this trainer, to run in `folder / "run"`."""
        section = tiny.set_value("trainer", {"_merge_": "replace", **self.spec()})
        overrides = [*self.overrides, section, "evaluation=null"]
        return tiny.build(self.experiment, folder / "run", overrides)

    def build(self, folder: Path) -> Any:
        """Build the experiment; return its trainer."""
        return self.build_experiment(folder).trainer

    def to_send(self, folder: Path) -> Any:
        """Return the class: a trainer is built where its models are."""
        del folder
        return self.load()

    def step(self, experiment: Experiment) -> Any:
        """Do the first step; return its metrics."""
        torch.manual_seed(0)
        batch = tiny.first_batch(experiment)
        return experiment.trainer.train_step(batch, epoch=0, total_epochs=1, iterations=0)

    def train(self, folder: Path, resume: str = "none") -> dict[str, Any]:
        """Train to the end; return the weights."""
        experiment = self.build_experiment(folder)
        result = tiny.train(experiment, folder / "run", resume)
        require(result.status == "completed", f"the run ended as {result.status!r}")
        return tiny.weights_of(experiment)

    def test_tc020_step_returns_finite_scalars(self, tmp_path: Path) -> None:
        """`train_step` returns a dict of finite scalars."""
        metrics = self.step(self.build_experiment(tmp_path))
        tiny.require_finite_scalars(metrics, "train_step")

    def test_tc021_step_changes_the_weights(self, tmp_path: Path) -> None:
        """A step changes what is trained, and only to finite numbers."""
        experiment = self.build_experiment(tmp_path)
        before = tiny.weights_of(experiment)
        for _ in range(2):  # a schedule's warm-up may begin with a rate of 0
            self.step(experiment)
            for handle in experiment.schedules.values():
                handle.scheduler.step()
        after = tiny.weights_of(experiment)
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        require(changed, "two steps changed no weight")
        finite = all(torch.isfinite(after[name]).all() for name in changed)
        require(finite, "a step made a weight nan or infinite")

    def test_tc022_same_seed_gives_the_same_weights(self, tmp_path: Path) -> None:
        """Two runs with one seed end in the same weights, bit for bit."""
        first, second = self.train(tmp_path / "a"), self.train(tmp_path / "b")
        tiny.require_equal(second, first, "two runs with one seed differ")

    def test_tc023_resumed_run_equals_the_whole_one(self, tmp_path: Path) -> None:
        """A run that goes on from a checkpoint ends in the weights of the uninterrupted one."""
        whole = self.train(tmp_path / "a")
        half = next(tmp_path.glob(f"a/run/checkpoints/step-*{tiny.MIDDLE}"))
        resumed = self.train(tmp_path / "b", str(half))
        tiny.require_equal(resumed, whole, "a resumed run ends in other weights")


class EvaluatorConformance(ComponentConformance):
    """Checks of an evaluator.

    Attributes:
        experiment: The experiment whose trainer is evaluated: data, a file or a recipe.
        overrides: Changes to it, as on the command line.
    """

    kind = "eval"
    experiment: ClassVar[str | Mapping[str, Any]] = tiny.tiny_experiment()
    overrides: ClassVar[Sequence[str]] = ()

    def make_context(self, folder: Path) -> EvaluationContext:
        """Return what the evaluator works with."""
        overrides = [*self.overrides, "evaluation=null"]
        experiment = tiny.build(self.experiment, folder / "run", overrides)
        experiment.models.eval()
        return EvaluationContext(
            trainer=experiment.trainer,
            models=experiment.models,
            normalizer=experiment.normalizer,
            device=experiment.device,
            step=1,
            out_dir=folder / "evaluation",
            seed=experiment.seed,
            final=True,
        )

    def test_tc075_returns_metrics_that_json_can_hold(self, tmp_path: Path) -> None:
        """`evaluate` returns a dict of JSON data with at least one number."""
        metrics = self.build(tmp_path).evaluate(self.make_context(tmp_path))
        require(json.loads(json.dumps(metrics)) == metrics, "the metrics do not survive JSON")
        numbers = [name for name, value in metrics.items() if isinstance(value, int | float)]
        require(numbers, f"there is no number among {sorted(metrics)}")

    def test_tc076_leaves_the_weights_alone(self, tmp_path: Path) -> None:
        """It changes no weight, and the models are still in eval mode."""
        context = self.make_context(tmp_path)
        before = {name: tensor.clone() for name, tensor in context.models.state_dict().items()}
        self.build(tmp_path).evaluate(context)
        tiny.require_equal(context.models.state_dict(), before, "evaluating changed weights")
        training = any(module.training for module in context.models.modules())
        require(not training, "it left a model in training mode")

    def test_tc077_stops_when_it_is_asked_to(self, tmp_path: Path) -> None:
        """It returns early, and without an error, when `interrupted()` is true from the start."""
        context = self.make_context(tmp_path)
        context.interrupted = lambda: True
        metrics = self.build(tmp_path).evaluate(context)
        require(isinstance(metrics, dict), f"it returned {type(metrics).__name__}, not a dict")


class RunnerConformance(ComponentConformance):
    """Checks of a runner.

    Attributes:
        refuses: Part of the message of a runner that cannot run the small experiment. It is then
            held to that: it must say so as a `UserError` or a `ConfigError`, before anything is
            written.
    """

    kind = "runner"
    refuses: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        """Leave out what a runner that refuses cannot do, or the check that it refuses."""
        super().__init_subclass__()
        if cls.refuses:
            cls.test_tc080_trains_as_the_local_runner_does = None  # type: ignore[assignment,method-assign] # pytest then collects none
            cls.test_tc081_dry_run_writes_nothing = None  # type: ignore[assignment,method-assign] # the same
        elif cls.key:
            cls.test_tc082_refusal_is_the_users_to_read = None  # type: ignore[assignment,method-assign] # the same

    def run_with(self, spec: Mapping[str, Any], out_dir: Path, *, dry_run: bool = False) -> Any:
        """Run the small experiment with a runner."""
        source = tiny.tiny_experiment(runner=dict(spec))
        overrides = ["run.device=cpu", f"trainer.max_steps={tiny.STEPS}", "loggers=[]"]
        overrides.append(tiny.set_value("run.out_dir", str(out_dir)))
        experiment = load_experiment(source, overrides)
        experiment.dry_run = dry_run
        return instantiate(spec, experiment.plugins, kind="runner").run(experiment)

    def test_tc080_trains_as_the_local_runner_does(self, tmp_path: Path) -> None:
        """On one process it ends in the weights of the runner `local`, bit for bit."""
        saved = []
        local = {"_type_": "trainer-core::runner.local"}
        for name, spec in (("own", self.spec()), ("local", local)):
            result = self.run_with(spec, tmp_path / name)
            found = (result.status, result.step)
            require(found == ("completed", tiny.STEPS), f"the run ended as {found}")
            files = sorted((tmp_path / name).glob("checkpoints/step-*/*.safetensors"))
            saved.append({file.name: file.read_bytes() for file in files})
        require(saved[0], "the run left no checkpoint")
        require(saved[0] == saved[1], "the weights differ from those of the runner 'local'")

    def test_tc081_dry_run_writes_nothing(self, tmp_path: Path) -> None:
        """A dry run builds everything, returns the status `checked` and writes nothing."""
        result = self.run_with(self.spec(), tmp_path / "run", dry_run=True)
        require(result.status == "checked", f"a dry run ended as {result.status!r}")
        require(not (tmp_path / "run").exists(), "a dry run wrote its run folder")

    def test_tc082_refusal_is_the_users_to_read(self, tmp_path: Path) -> None:
        """A runner that cannot run this says so for the user to read, and writes nothing."""
        try:
            self.run_with(self.spec(), tmp_path / "run")
        except (ConfigError, UserError) as error:
            require(self.refuses in str(error), f"it says {str(error)!r}, not {self.refuses!r}")
        else:
            require(condition=False, message="it declares that it refuses to run, and ran")
        require(not (tmp_path / "run").exists(), "it wrote a run folder before it refused")
