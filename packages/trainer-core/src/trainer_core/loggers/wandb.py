"""Weights & Biases."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trainer_core.errors import MissingPackageError
from trainer_core.loggers.secrets import without_secrets
from trainer_core.storage import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["WandbLogger"]

_RUN_ID = "wandb_run_id.txt"


class WandbLogger:
    """Sends metrics to W&B; a resumed run goes on with the same W&B run.

    Args:
        project: W&B's project.
        entity: User or team; None: W&B's default.
        group: Group of runs that belong together.
        tags: Labels of the run.
        mode: `online`, `offline` (files in the run folder, for `wandb sync`) or `disabled`; None:
            what WANDB_MODE says.
    """

    def __init__(
        self,
        project: str,
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        mode: Literal["online", "offline", "disabled"] | None = None,
    ) -> None:
        self.project = project
        self.entity = entity
        self.group = group
        self.tags = tuple(tags)
        self.mode = mode
        self._run: Any = None

    def start(self, run: Mapping[str, Any]) -> None:
        """Open the W&B run, or the one that this run folder had before.

        Raises:
            MissingPackageError: wandb is not installed.
        """
        try:
            import wandb  # noqa: PLC0415 - optional package
        except ImportError as exc:
            need = "the logger 'wandb'"
            raise MissingPackageError(need, "trainer-core[wandb]") from exc
        out_dir = Path(run["out_dir"])
        id_file = out_dir / _RUN_ID
        resumed = run.get("resumed_step") is not None and id_file.is_file()
        run_id = id_file.read_text().strip() if resumed else uuid.uuid4().hex[:8]
        self._run = wandb.init(
            project=self.project,
            entity=self.entity,
            group=self.group,
            tags=list(self.tags),
            mode=self.mode,
            id=run_id,
            resume="allow",
            name=run["name"],
            dir=str(out_dir),
            config=without_secrets(run.get("config") or {}),
        )
        self._run.define_metric("*", step_metric="global_step")
        write_atomically(id_file, f"{run_id}\n")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Send the metrics of a step; repeated steps of a resumed run are kept by W&B."""
        if self._run is not None:
            self._run.log({**metrics, "global_step": step})

    def finish(self, status: str) -> None:
        """Close the W&B run."""
        if self._run is not None:
            self._run.summary["status"] = status
            self._run.finish(exit_code=0 if status != "failed" else 1)
            self._run = None
