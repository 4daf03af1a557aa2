"""TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer_core.errors import MissingPackageError
from trainer_core.loggers.secrets import without_secrets
from trainer_core.storage import make_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy_constructor.ranges import PositiveNumber

__all__ = ["TensorboardLogger"]

_MOST_PARAMETERS = 200


class TensorboardLogger:
    """Writes event files for `tensorboard --logdir runs`.

    A resumed run tells TensorBoard to drop what was logged after the step it goes on from, so no
    step of a curve is there twice. The configuration is there as text, its single values as
    hyper-parameters; values of keys such as `api_key` are left out.

    Args:
        folder: Where the event files go, in the run folder.
        flush_s: Seconds between two writes; fewer show sooner.
    """

    def __init__(self, folder: str = "tensorboard", flush_s: PositiveNumber = 10) -> None:
        self.folder = folder
        self.flush_s = flush_s
        self._writer: Any = None
        self._parameters: dict[str, Any] = {}

    def start(self, run: Mapping[str, Any]) -> None:
        """Open an event file.

        Raises:
            MissingPackageError: tensorboard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional package
        except ImportError as exc:
            need = "the logger 'tensorboard'"
            raise MissingPackageError(need, "trainer-core[tensorboard]") from exc
        resumed_step = run.get("resumed_step")
        self._writer = SummaryWriter(
            str(make_folder(Path(run["out_dir"]) / self.folder)),
            purge_step=None if resumed_step is None else resumed_step + 1,
            flush_secs=max(1, round(self.flush_s)),
        )
        config = without_secrets(run.get("config") or {})
        self._parameters = dict(_flat(config))
        if resumed_step is None:
            text = json.dumps(config, indent=1, default=str).replace("\n", "\n    ")
            self._writer.add_text("configuration", f"    {text}", 0)
            self._write_parameters()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Write the metrics of a step."""
        if self._writer is not None:
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, step)

    def finish(self, status: str) -> None:
        """Write what waits and close the file."""
        del status
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write_parameters(self) -> None:
        """Enter the hyper-parameters into this run's own event file, for the tab HPARAMS."""
        from torch.utils.tensorboard.summary import hparams  # noqa: PLC0415 - optional package

        for summary in hparams(self._parameters, {}):  # type: ignore[no-untyped-call] # torch leaves it untyped
            self._writer.file_writer.add_summary(summary)


def _flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return the single values of a configuration by their dotted keys."""
    if isinstance(value, dict):
        children = [(f"{path}.{key}" if path else str(key), child) for key, child in value.items()]
        found = [pair for name, child in children for pair in _flat(child, name)]
        return found[:_MOST_PARAMETERS]
    return [(path, value)] if isinstance(value, str | int | float | bool) else []
