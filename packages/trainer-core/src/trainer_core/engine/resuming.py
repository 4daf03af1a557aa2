"""Where a run goes on: rank 0 looks, and all ranks go on from what it found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainer_core.checkpoint.reader import find_checkpoint, open_checkpoint

if TYPE_CHECKING:
    from trainer_core.checkpoint.reader import Checkpoint
    from trainer_core.ranks import Ranks

__all__ = ["find_together"]


def find_together(root: Path, resume: str | int, ranks: Ranks) -> Checkpoint | None:
    """Return the checkpoint that `run.resume` means, the same on every rank.

    Only rank 0 looks for it: bad ones move while it does.

    Args:
        root: `<out_dir>/checkpoints`.
        resume: As in `run.resume`.
        ranks: The processes of the run.

    Raises:
        CheckpointError: It is not there or not whole, or another rank cannot read it.
    """
    found: list[Checkpoint] = []

    def find() -> str | None:
        checkpoint = find_checkpoint(root, resume)
        if checkpoint is None:
            return None
        found.append(checkpoint)
        return str(checkpoint.path.resolve())

    path = ranks.on_main(find)
    if path is None:
        return None
    return found[0] if found else open_checkpoint(Path(path))
