"""Generation B: our sections with other keys, and `imports`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer_core.experiment.migration.pieces import Piece, scalar

if TYPE_CHECKING:
    from trainer_core.experiment.migration.report import Report

__all__ = ["convert_second", "is_second"]

_IMPORTS = "components come from installed wheels; 'trainer plugins list' shows them"
_SECTIONS = frozenset(
    {"run", "model", "imports", "trainer", "data", "io", "loss", "optimizer", "scheduler"}
) | {"callbacks", "loggers", "metrics", "settings", "defaults"}


def is_second(root: Piece) -> bool:
    """Whether a file has sections of generation B."""
    return bool(_SECTIONS & root.members.keys())


def convert_second(root: Piece, report: Report) -> Piece:
    """Return the file without what components of that time took and ours do not."""
    members = root.members
    new = Piece({"schema_version": scalar(1)}, before=root.before, below=root.below)
    new.members.update(members)
    report.lose(new.take("imports"), "imports", _IMPORTS, new)
    settings = new.members.get("settings")
    if settings is not None:
        message = "no file imports modules any more"
        report.lose(settings.take("allow_imports"), "settings.allow_imports", message, settings)
    data = new.members.get("data")
    if data is not None:
        _count_samples(data.members.get("_value_", data), report)
    trainer = new.members.get("trainer")
    if trainer is not None:
        _keep_one_length(trainer.members.get("_value_", trainer), report)
    return new


def _count_samples(data: Piece, report: Report) -> None:
    """Turn a length in steps into one in samples, where both factors are known."""
    steps, batch = data.members.get("steps_per_epoch"), data.members.get("batch_size")
    name = data.members.get("_type_")
    is_random = name is not None and str(name.plain).endswith("random_regression")
    if not is_random or steps is None or batch is None:
        return
    if isinstance(steps.plain, int) and isinstance(batch.plain, int):
        size = scalar(steps.plain * batch.plain)
        size.line, size.before, size.after = steps.line, steps.before, steps.after
        report.note(steps, "data.steps_per_epoch", "times batch_size, it is `size` now")
        data.take("steps_per_epoch")
        data.members["size"] = size


def _keep_one_length(trainer: Piece, report: Report) -> None:
    if trainer.members.keys() >= {"max_steps", "max_epochs"}:
        message = "a run has max_steps or max_epochs, not both"
        report.lose(trainer.take("max_epochs"), "trainer.max_epochs", message, trainer)
