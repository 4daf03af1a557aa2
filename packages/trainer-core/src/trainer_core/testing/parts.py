"""The checks of what an experiment is made of: data, blocks, losses, optimizers, schedules."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from trainer_core.loader import make_reader
from trainer_core.normalize import Normalizer
from trainer_core.sampling import SampleOrder
from trainer_core.testing import tiny
from trainer_core.testing.component import ComponentConformance
from trainer_core.testing.declaration import require
from trainer_core.tree import tree_flatten

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "BlockConformance",
    "DatasetConformance",
    "LossConformance",
    "OptimizerConformance",
    "SchedulerConformance",
]


class DatasetConformance(ComponentConformance):
    """Checks of a data set factory."""

    kind = "data"

    def open(self, folder: Path) -> dict[str, Any]:
        """Return what the factory builds in a single process."""
        options = {"local_rank": 0, "dist_enabled": False, "save_dir": str(folder)}
        opened: dict[str, Any] = self.build(folder).build(options, {})
        return opened

    def read(self, folder: Path) -> dict[str, Any]:
        """Return the first batch of a fresh data set, of at most four samples."""
        dataset = self.open(folder)["dataset"]
        size = min(4, len(dataset))
        return make_reader(dataset, 0)(SampleOrder(len(dataset), 0).indices(0, size), 0)

    def test_tc030_opens_a_dataset_with_a_length(self, tmp_path: Path) -> None:
        """`build` returns a `dataset` that is not empty and `norm_stats` that are JSON data."""
        opened = self.open(tmp_path)
        require("dataset" in opened, f"build returned {sorted(opened)}, no 'dataset'")
        require(len(opened["dataset"]) > 0, "the data set is empty")
        stats = opened.get("norm_stats", {})
        require(json.loads(json.dumps(stats)) == stats, "norm_stats do not survive JSON")

    def test_tc031_reads_a_batch_of_tensors(self, tmp_path: Path) -> None:
        """A batch is a mapping whose tensors have the samples as their first dimension."""
        batch = self.read(tmp_path)
        tensors = [leaf for leaf in tree_flatten(batch)[0] if isinstance(leaf, Tensor)]
        require(tensors, "a batch holds no tensor")
        sizes = {len(tensor) for tensor in tensors}
        require(len(sizes) == 1, f"the tensors of a batch have lengths {sorted(sizes)}")

    def test_tc032_batch_can_be_normalised(self, tmp_path: Path) -> None:
        """The statistics fit the batch: normalising it gives finite numbers."""
        batch = self.read(tmp_path)
        stats = self.open(tmp_path).get("norm_stats", {})
        normalised = Normalizer(stats).normalize(batch)
        for key in stats:
            require(key in batch, f"norm_stats has {key!r}, which no batch has")
            require(torch.isfinite(normalised[key]).all(), f"{key} is not finite when normalised")

    def test_tc033_reads_the_same_samples_twice(self, tmp_path: Path) -> None:
        """Two data sets built alike return the same samples, bit for bit."""
        first, second = self.read(tmp_path), self.read(tmp_path)
        require(list(first) == list(second), f"{list(first)} became {list(second)}")
        for key, value in first.items():
            same = torch.equal(value, second[key]) if isinstance(value, Tensor) else True
            require(same, f"{key} differs between two data sets built alike")


class BlockConformance(ComponentConformance):
    """Checks of a block.

    Attributes:
        inputs: The shapes of what its forward takes, such as `[[2, 8]]`; a mapping of shapes is a
            dict of tensors. Override `make_inputs` for anything else.
    """

    kind = "block"
    inputs: ClassVar[Sequence[Any]] = ()

    @classmethod
    def unprepared(cls) -> dict[str, str]:
        """Return what cannot be done without parameters, or without inputs."""
        missing = super().unprepared()
        if not cls.inputs and cls.make_inputs is BlockConformance.make_inputs:
            reason = "say what its forward takes: inputs: [[2, 8]]"
            missing = dict.fromkeys(("TC070", "TC071", "TC072"), reason) | missing
        return missing

    def make_inputs(self) -> tuple[Any, ...]:
        """Return the positional arguments of the forward."""
        return tuple(tiny.random_tensors(dict(enumerate(self.inputs))).values())

    def outputs(self, block: nn.Module) -> list[Tensor]:
        """Return the tensors of one forward pass."""
        require(self.make_inputs(), "say what its forward takes: inputs = [[2, 8]]")
        leaves = tree_flatten(block(*self.make_inputs()))[0]
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def test_tc070_forward_is_finite(self, tmp_path: Path) -> None:
        """It is an `nn.Module`, and its forward returns tensors of finite numbers."""
        block = self.build(tmp_path)
        require(isinstance(block, nn.Module), f"{self.key} builds {type(block).__name__}")
        outputs = self.outputs(block)
        require(outputs, "the forward returns no tensor")
        require(all(torch.isfinite(each).all() for each in outputs), "an output is not finite")

    def test_tc071_every_parameter_has_a_gradient(self, tmp_path: Path) -> None:
        """The sum of the outputs reaches every parameter that is trained."""
        block = self.build(tmp_path)
        outputs = self.outputs(block)
        trained = [(name, p) for name, p in block.named_parameters() if p.requires_grad]
        total = torch.stack([each.float().sum() for each in outputs]).sum()
        if total.requires_grad:
            total.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        idle = [name for name, parameter in trained if parameter.grad is None]
        require(not idle, f"no gradient reaches {', '.join(idle)}")

    def test_tc072_weights_decide_the_output(self, tmp_path: Path) -> None:
        """A second block with the first one's `state_dict` gives the same output in eval mode."""
        torch.manual_seed(0)
        first = self.build(tmp_path).eval()
        torch.manual_seed(1)
        second = self.build(tmp_path).eval()
        second.load_state_dict(first.state_dict())
        pairs = zip(self.outputs(first), self.outputs(second), strict=True)
        message = "something besides its state_dict and its parameters decides the output"
        require(all(torch.equal(one, other) for one, other in pairs), message)


class LossConformance(ComponentConformance):
    """Checks of a loss.

    Attributes:
        shape: Shape of the prediction and of the target; override `make_inputs` where they differ.
    """

    kind = "loss"
    shape: ClassVar[Sequence[int]] = (4, 2)

    def make_inputs(self) -> tuple[Any, ...]:
        """Return the prediction and the target."""
        generator = torch.Generator().manual_seed(0)
        prediction = torch.randn(*self.shape, generator=generator)
        return prediction, torch.randn(*self.shape, generator=generator)

    def compute(self, folder: Path) -> tuple[Tensor, Tensor]:
        """Return the prediction and the loss of it."""
        prediction, *others = self.make_inputs()
        prediction = prediction.requires_grad_()
        return prediction, self.build(folder).build()(prediction, *others)

    def test_tc040_loss_is_a_finite_scalar(self, tmp_path: Path) -> None:
        """`build` returns a module whose value is one finite number."""
        require(isinstance(self.build(tmp_path).build(), nn.Module), "build returns no nn.Module")
        _, loss = self.compute(tmp_path)
        require(loss.ndim == 0, f"the loss has shape {list(loss.shape)}, not []")
        require(torch.isfinite(loss), f"the loss is {loss.item()}")

    def test_tc041_gradient_reaches_the_prediction(self, tmp_path: Path) -> None:
        """Its gradient with respect to the prediction is finite and not all zero."""
        prediction, loss = self.compute(tmp_path)
        (gradient,) = torch.autograd.grad(loss, prediction)
        require(torch.isfinite(gradient).all(), "the gradient is not finite")
        require(gradient.abs().sum() > 0, "the gradient is zero everywhere")


class OptimizerConformance(ComponentConformance):
    """Checks of an optimizer factory."""

    kind = "optim_factory"

    def optimizer(self, folder: Path) -> tuple[Tensor, torch.optim.Optimizer]:
        """Return a parameter and its optimizer."""
        weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
        return weight, self.build(folder).build([{"params": [weight], "name": "model"}])

    def descend(self, weight: Tensor, optimizer: torch.optim.Optimizer, steps: int) -> None:
        """Take steps down a parabola."""
        for _ in range(steps):
            optimizer.zero_grad()
            weight.square().sum().backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            optimizer.step()

    def test_tc050_keeps_the_groups_it_was_given(self, tmp_path: Path) -> None:
        """It returns a torch optimizer over the groups, which keep their `name`."""
        _, optimizer = self.optimizer(tmp_path)
        require(isinstance(optimizer, torch.optim.Optimizer), "build returns no torch optimizer")
        names = [group.get("name") for group in optimizer.param_groups]
        require(names == ["model"], f"the groups are named {names}, not ['model']")

    def test_tc051_steps_lower_a_parabola(self, tmp_path: Path) -> None:
        """Twenty steps on a parabola lower it."""
        weight, optimizer = self.optimizer(tmp_path)
        before = weight.detach().square().sum()
        self.descend(weight, optimizer, 20)
        after = weight.detach().square().sum()
        require(after < before, f"20 steps took a parabola from {before:g} to {after:g}")

    def test_tc052_goes_on_from_its_saved_state(self, tmp_path: Path) -> None:
        """An optimizer with the loaded state steps exactly as the saved one."""
        weight, optimizer = self.optimizer(tmp_path)
        self.descend(weight, optimizer, 3)
        other_weight, other = self.optimizer(tmp_path)
        other_weight.data.copy_(weight.data)
        other.load_state_dict(deepcopy(optimizer.state_dict()))
        self.descend(weight, optimizer, 3)
        self.descend(other_weight, other, 3)
        require(torch.equal(weight, other_weight), "the state_dict does not hold all of its state")


class SchedulerConformance(ComponentConformance):
    """Checks of a schedule factory."""

    kind = "sched_factory"

    def rates(self, schedule: Any, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
        """Step the schedule; return the rates it sets."""
        found = []
        for _ in range(steps):
            optimizer.step()
            schedule.step()
            found.append(float(optimizer.param_groups[0]["lr"]))
        return found

    def schedule(self, folder: Path) -> tuple[Any, torch.optim.Optimizer]:
        """Return a schedule of ten steps and its optimizer."""
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
        return self.build(folder).build(optimizer, 10), optimizer

    def test_tc055_interval_is_known(self, tmp_path: Path) -> None:
        """`interval` says when the engine steps it: step, epoch or metric."""
        interval = self.build(tmp_path).interval
        known = interval in {"step", "epoch", "metric"}
        require(known, f"the interval is {interval!r}, not step, epoch or metric")

    def test_tc056_goes_on_from_its_saved_state(self, tmp_path: Path) -> None:
        """A schedule with the loaded state sets the same rates as the saved one."""
        schedule, optimizer = self.schedule(tmp_path)
        self.rates(schedule, optimizer, 3)
        other, other_optimizer = self.schedule(tmp_path)
        other.load_state_dict(schedule.state_dict())
        other_optimizer.load_state_dict(optimizer.state_dict())
        wanted, found = self.rates(schedule, optimizer, 4), self.rates(other, other_optimizer, 4)
        require(found == wanted, f"after loading its state the rates are {found}, not {wanted}")
