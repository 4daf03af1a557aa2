"""What keeps a file from being learned from online, found in its text alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer_core.distributed.options import is_count
from trainer_ray.online.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trainer_core.distributed.options import Fault
    from trainer_core.protocols import BatchReport, FileView

__all__ = ["check", "file_faults", "online_samples"]


def check(parameters: Mapping[str, Any], report: BatchReport, view: FileView) -> None:
    """Report what `trainer check` is to say of the runner's keys and of the sections they need."""
    options = Options.read(parameters)
    options.report(report)
    for place, message in file_faults(options, view.sections):
        report(place, message)


def file_faults(options: Options, sections: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what is wrong with a file whose own sections are right, with its place.

    Args:
        options: The runner's options.
        sections: The whole file as plain data.
    """
    evaluation = sections.get("evaluation")
    if evaluation is None:
        what = "runner ray_online plays what an evaluator plays; the file has no 'evaluation' "
        yield ("runner",), f"{what}section"
    elif options.target_success is not None and not evaluation.get("every"):
        what = "target_success is never measured before the end; set evaluation.every"
        yield ("runner", "target_success"), what
    yield from _faults_of_data(options, sections.get("data") or {})
    yield from _faults_of_length(options, sections.get("trainer") or {})


def _faults_of_data(options: Options, data: Mapping[str, Any]) -> Iterator[Fault]:
    if data.get("num_workers"):
        what = (
            "runner ray_online fetches its samples in a thread of the learner; num_workers is 0, "
            f"not {data['num_workers']}"
        )
        yield ("data", "num_workers"), what
    batch: Any = data.get("batch_size")
    if is_count(batch, 1) and not online_samples(batch, options.online_share):
        what = (
            f"an online_share of {options.online_share:g} of a batch of {batch} is no sample; "
            f"{1 / batch:g} is one"
        )
        yield ("runner", "online_share"), what


def _faults_of_length(options: Options, trainer: Mapping[str, Any]) -> Iterator[Fault]:
    steps: Any = trainer.get("max_steps")
    if trainer.get("max_epochs") is not None:
        what = "the length of a run with runner ray_online is given in steps: use max_steps"
        yield ("trainer", "max_epochs"), what
    if trainer.get("overfit_batches") is not None:
        what = "runner ray_online cannot overfit: each batch has new samples; remove the key"
        yield ("trainer", "overfit_batches"), what
    if is_count(steps, 1) and options.offline_steps >= steps:
        what = (
            f"all {steps} steps of the run (trainer.max_steps) are on the data set alone; lower "
            "offline_steps, or use the runner local"
        )
        yield ("runner", "offline_steps"), what


def online_samples(batch: int, share: float) -> int:
    """Return how many samples of a batch are new ones."""
    return round(batch * share)
