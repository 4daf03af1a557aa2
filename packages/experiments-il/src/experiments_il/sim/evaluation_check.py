"""What an evaluation in a simulator can get wrong in its file; without torch and numpy."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from experiments_il.sim.simulators import (
    ALOHA,
    METAWORLD,
    PUSHT,
    Simulator,
    wrong_cameras,
    wrong_tasks,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.protocols import BatchReport, FileView

__all__ = ["check", "check_aloha", "check_metaworld", "check_pusht"]

_IMAGE_SIZE = (64, 64)


def check(
    parameters: Mapping[str, Any], report: BatchReport, view: FileView, *, simulator: Simulator
) -> None:
    """Report a task and cameras that the simulator does not have, and cameras the policy lacks.

    Args:
        parameters: Those of the evaluator.
        report: Receives what is wrong.
        view: The file.
        simulator: In which the policy acts.
    """
    cameras = parameters.get("cameras") or {}
    size = parameters.get("image_size") or _IMAGE_SIZE
    tasks = wrong_tasks(simulator, str(parameters.get("task", "")))
    for wrong in [*tasks, *wrong_cameras(simulator, cameras, size)]:
        report(("evaluation", *wrong.place), wrong.message, wrong.suggestions, on="value")
    trainer = view.sections.get("trainer") or {}
    seen = trainer.get("cameras")
    for key in seen if isinstance(seen, dict) else ():
        if key not in cameras and (view.batches is None or key in view.batches):
            message = (
                f"the policy sees {key!r} (trainer.cameras), and evaluation.cameras does not say "
                f"which camera of {simulator.title} it comes from ({', '.join(simulator.cameras)})"
            )
            report(("evaluation", *(("cameras",) if cameras else ())), message)


check_metaworld = partial(check, simulator=METAWORLD)
check_pusht = partial(check, simulator=PUSHT)
check_aloha = partial(check, simulator=ALOHA)
