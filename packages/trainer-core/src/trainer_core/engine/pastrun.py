"""A run folder read back: whatever is there of it, of a run that ended in any way."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from trainer_core.checkpoint.layout import MANIFEST, QUARANTINE, list_steps
from trainer_core.checkpoint.ranking import read_best
from trainer_core.engine.curves import collect_series
from trainer_core.loggers.jsonl import read_metrics
from trainer_core.storage import read_json_mapping

if TYPE_CHECKING:
    from pathlib import Path

    from trainer_core.engine.curves import Series

__all__ = ["PastRun", "is_run_folder", "read_run"]

_MARKS = ("summary.json", "metrics.jsonl", "config.resolved.yaml", "checkpoints")
_MOST_VALUES = 2000


@dataclass
class PastRun:
    """What a run left.

    Attributes:
        path: Its folder.
        summary: `summary.json`; empty while it runs and if it was killed.
        series: Every metric over steps.
        evaluations: Step and result of every finished evaluation, in order.
        checkpoints: Rows of step, size in bytes and remarks, in order.
        config: The text of `config.resolved.yaml`.
        plugins: `plugins.json`.
        environment: `environment.json`.
        videos: Videos of evaluations.
    """

    path: Path
    summary: dict[str, Any] = field(default_factory=dict)
    series: dict[str, Series] = field(default_factory=dict)
    evaluations: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    checkpoints: list[tuple[int, int | None, str]] = field(default_factory=list)
    config: str = ""
    plugins: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    videos: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The run's name in its file, else its folder's."""
        run = self.settings().get("run.name")
        return str(run) if run else self.path.resolve().name

    def settings(self) -> dict[str, Any]:
        """Return the single values of the configuration by their dotted keys."""
        try:
            document = yaml.safe_load(self.config)
        except (yaml.YAMLError, ValueError, RecursionError):
            return {}
        found: dict[str, Any] = {}
        waiting: list[tuple[str, Any]] = [("", document)]
        while waiting and len(found) < _MOST_VALUES:
            path, value = waiting.pop()
            if isinstance(value, dict | list) and value:
                pairs = value.items() if isinstance(value, dict) else enumerate(value)
                waiting += [(f"{path}.{key}" if path else str(key), child) for key, child in pairs]
            elif path:
                found[path] = value
        return dict(sorted(found.items()))


def is_run_folder(path: Path) -> bool:
    """Return whether a folder holds anything of a run."""
    return path.is_dir() and any((path / name).exists() for name in _MARKS)


def read_run(path: Path) -> PastRun:
    """Return what a run folder has; what is missing or cannot be read is empty."""
    run = PastRun(path)
    for name in ("summary", "plugins", "environment"):
        setattr(run, name, read_json_mapping(path / f"{name}.json"))
    with suppress(OSError, ValueError):
        run.config = (path / "config.resolved.yaml").read_text(encoding="utf-8")
    with suppress(OSError, ValueError, RecursionError):
        run.series = collect_series(read_metrics(path / "metrics.jsonl"))
    for step, folder in reversed(list_steps(path / "evaluation")):
        result = read_json_mapping(folder / "result.json")
        if result:
            run.evaluations.append((step, result))
    run.checkpoints = _checkpoints(path / "checkpoints")
    with suppress(OSError):
        run.videos = sorted((path / "evaluation").rglob("*.mp4"))
    return run


def _checkpoints(root: Path) -> list[tuple[int, int | None, str]]:
    best = read_best(root)
    rows = []
    for step, folder in reversed(list_steps(root)):
        files = read_json_mapping(folder / MANIFEST).get("files")
        sizes = [each.get("bytes") for each in files.values()] if isinstance(files, dict) else []
        size = sum(each for each in sizes if isinstance(each, int)) if sizes else None
        remark = "" if sizes else "without a readable manifest"
        if best is not None and best[0] == step:
            remark = f"best {best[1].monitor}"
        rows.append((step, size, remark))
    for step, _ in reversed(list_steps(root / QUARANTINE)):
        rows.append((step, None, "in quarantine: it failed verification"))
    return rows
