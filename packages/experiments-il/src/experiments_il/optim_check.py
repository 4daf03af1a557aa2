"""What an optimizer's section must agree on with the run; without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.protocols import BatchReport, FileView

__all__ = ["check_warmup"]


def check_warmup(parameters: Mapping[str, Any], report: BatchReport, view: FileView) -> None:
    """Report a warm-up that is not shorter than the run.

    Args:
        parameters: Those of `adamw_warmup_cosine_decay`.
        report: Receives what is wrong.
        view: The file.
    """
    trainer = view.sections.get("trainer") or {}
    total = parameters.get("total_steps") or trainer.get("max_steps")
    warmup = parameters["warmup_steps"]
    if type(total) is int and warmup >= total and parameters["warmup_share"] == 1:
        message = (
            f"warmup_steps must be at least 0 and below the number of steps ({total}), got "
            f"{warmup}; warmup_share: 0.1 makes it a tenth of a short run"
        )
        report(("optimizer", "warmup_steps"), message)
