"""Everything built and one batch computed, without a change: what would a run be like?"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainer_core.engine.summary import count_parameters, parameter_table, short
from trainer_core.engine.throughput import count_flops, first_batch
from trainer_core.loggers.stdout import format_duration
from trainer_core.seeding import isolated_rng
from trainer_core.step import LossTrainer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.engine.built import Experiment

__all__ = ["describe_dry_run", "dry_run"]

_TIMED_STEPS = 3
_WIDTH = 80


def dry_run(experiment: Experiment) -> dict[str, Any]:
    """Compute the gradients of the first batch and measure that; no run folder is made.

    Returns:
        JSON data: `components` (a row each), `batch` (a row per key), `metrics`, `memory`,
        `written` (what the data set recorded or keeps, a text each), and how long the run would
        be, in steps, samples and seconds. A trainer that owns its whole step cannot be asked for
        metrics and times.
    """
    size, total = experiment.global_batch, experiment.total_steps
    report: dict[str, Any] = {
        "name": experiment.name,
        "device": str(experiment.device),
        "components": count_parameters(experiment.models),
        "steps_per_epoch": len(experiment.dataset) / size,
        "total_steps": total,
        "samples": total * size,
        "epochs": total * size / len(experiment.dataset),
        "batch": [],
        "metrics": {},
    }
    trainer = experiment.trainer
    if isinstance(trainer, LossTrainer):
        report["precision"] = trainer.options.precision
        report |= _measure(experiment, trainer)
        report["estimated_s"] = total * report["step_s"]
    report["memory"] = _peak_memory(experiment.device)
    report["written"] = list(getattr(experiment.dataset, "written", ()))
    return report


def describe_dry_run(report: Mapping[str, Any]) -> str:
    """Return the report as text for a terminal."""
    lines = [f"{report['name']} on {report['device']} {report.get('precision', '')}".rstrip(), ""]
    lines += parameter_table(report["components"])
    if report["batch"]:
        lines += ["", "a batch of this process"]
        width = max(len(row["key"]) for row in report["batch"])
        lines += [
            f"  {row['key'].ljust(width)}  {row['dtype']} {row['shape']}" for row in report["batch"]
        ]
        metrics = "  ".join(f"{name} {value:.4g}" for name, value in report["metrics"].items())
        lines += ["", f"its loss   {metrics}"]
    memory = report["memory"]
    lines.append(f"memory     {memory['mb']:,.0f} MB at most ({memory['of']})")
    lines.append(
        f"run        {report['total_steps']} steps, {short(report['samples'])} samples, "
        f"{report['epochs']:.3g} epochs of {report['steps_per_epoch']:.4g} steps"
    )
    if "step_s" in report:
        lines.append(
            f"time       {report['step_s'] * 1e3:.3g} ms a step, {short(report['flops'])}FLOP; "
            f"about {format_duration(report['estimated_s'])} without evaluation"
        )
    else:
        lines.append("time       not known: the trainer owns its whole step")
    cut = [line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..." for line in lines]
    written = report["written"]
    end = "nothing was trained; the data set wrote" if written else "nothing was trained or written"
    return "\n".join([*cut, end, *(f"  {text}" for text in written)])


def _measure(experiment: Experiment, trainer: LossTrainer) -> dict[str, Any]:
    """Compute the gradients of the first batch several times."""
    with isolated_rng():
        batch = first_batch(experiment)
        experiment.models.train()
        trainer.reseed(0)
        metrics = trainer.compute_gradients(batch, epoch=0, iterations=0)
        _wait(experiment.device)
        began = time.perf_counter()
        for _ in range(_TIMED_STEPS):
            again = first_batch(experiment)
            trainer.compute_gradients(again, epoch=0, iterations=0)
        _wait(experiment.device)
        step_s = (time.perf_counter() - began) / _TIMED_STEPS
    return {
        "batch": [_row(key, value) for key, value in batch.items()],
        "metrics": {name: _number(value) for name, value in metrics.items()},
        "step_s": step_s,
        "flops": count_flops(experiment),
    }


def _row(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return {"key": key, "dtype": dtype, "shape": list(value.shape)}
    return {"key": key, "dtype": type(value).__name__, "shape": []}


def _number(value: Any) -> float | None:
    """Return a metric as JSON has it: null where it is not finite."""
    number = float(value)
    return number if math.isfinite(number) else None


def _peak_memory(device: torch.device) -> dict[str, Any]:
    if device.type == "cuda":
        return {"mb": torch.cuda.max_memory_allocated(device) / 1e6, "of": str(device)}
    import resource  # noqa: PLC0415 - not on Windows
    import sys  # noqa: PLC0415 - used here only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"mb": peak * (1 if sys.platform == "darwin" else 1024) / 1e6, "of": "the process"}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
