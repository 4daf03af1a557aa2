"""`report.html`, one page that needs no other file, and `loss_curve.png`."""

from __future__ import annotations

import json
import logging
import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer_core.engine.curves import draw_png
from trainer_core.engine.page import figures, folded, heading, page, paragraph, show, table
from trainer_core.engine.pastrun import read_run
from trainer_core.storage import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer_core.engine.curves import Series
    from trainer_core.engine.pastrun import PastRun

__all__ = ["write_comparison", "write_report"]

_log = logging.getLogger(__name__)

_TOGETHER = {
    "loss": ("loss", "val/loss"),
    "success rate, with its interval": ("eval/success_rate", "eval/ci95_low", "eval/ci95_high"),
}
_WORDS = {
    "lr": "learning rate",
    "samples_per_s": "samples per second",
    "data_share": "share of the time spent waiting for data",
    "data_s": "seconds a step waits for its batch",
    "step_s": "seconds of a step",
    "forward_s": "seconds of a step in the losses",
    "backward_s": "seconds of a step in their gradients",
    "optimizer_s": "seconds of a step in clipping and the optimizers",
}
_MOST_VIDEOS = 200


def write_report(out_dir: Path, path: Path | None = None, *, picture: bool = True) -> Path:
    """Write the report of a run folder from the files that are in it; return its path.

    Args:
        out_dir: The run folder.
        path: Where the page goes; None: `report.html` in the run folder.
        picture: Whether `loss_curve.png` is drawn too.

    Raises:
        StorageError: It cannot be written.
    """
    run = read_run(out_dir)
    loss = {name: points for name, points in run.series.items() if name in _TOGETHER["loss"]}
    if picture and loss and not draw_png(loss, out_dir / "loss_curve.png"):
        _log.warning("no loss_curve.png: pip install 'trainer-core[plots]'")
    path = out_dir / "report.html" if path is None else path
    write_atomically(path, _render(run, path.parent))
    return path


def write_comparison(folders: Sequence[Path], path: Path) -> None:
    """Write a page that shows several runs side by side.

    Raises:
        StorageError: It cannot be written.
    """
    runs = _distinct([read_run(folder) for folder in folders])
    parts = [
        heading(f"{len(runs)} runs", 1),
        table(
            [_row(label, run) for label, run in runs.items()],
            ("run", "status", "steps", "seconds", "loss", "val/loss", "success rate"),
        ),
        *figures(_common_charts(runs)),
        *_differences(runs),
    ]
    write_atomically(path, page(f"{len(runs)} runs", parts))


def _render(run: PastRun, folder: Path) -> str:
    parts = [
        heading(run.path.resolve().name, 1),
        *_status(run),
        *_evaluation(run),
        *figures(_charts(run.series)),
        *_metrics(run),
        *_checkpoints(run),
        *_videos(run, folder),
        *folded("Configuration", run.config),
        *_wheels(run),
        *folded("Environment", json.dumps(run.environment, indent=1) if run.environment else ""),
    ]
    return page(run.path.resolve().name, parts)


def _status(run: PastRun) -> list[str]:
    summary = run.summary
    if not summary:
        last = max((points[-1][0] for points in run.series.values()), default=0)
        return [paragraph(f"running after {last} steps, or killed: there is no summary.json")]
    wall_s = summary.get("wall_s")
    time = f" in {wall_s:.0f} s" if isinstance(wall_s, int | float) else ""
    words = f"{summary.get('status', 'ended')} after {summary.get('step', 0)} steps{time}"
    if summary.get("stop_reason"):
        words += f": {summary['stop_reason']}"
    error = [paragraph(str(summary["error"]), "bad")] if summary.get("error") else []
    return [paragraph(words), *error]


def _evaluation(run: PastRun) -> list[str]:
    final = run.summary.get("evaluation")
    if not isinstance(final, dict) or not final:
        final = run.evaluations[-1][1] if run.evaluations else {}
    if not final:
        return []
    parts = [heading("Evaluation")]
    sentence = _success(final)
    if sentence:
        parts.append(paragraph(sentence, "big"))
    numbers = [(name, value) for name, value in final.items() if isinstance(value, int | float)]
    parts.append(table(numbers))
    if len(run.evaluations) > 1:
        rows = [(step, _success(result) or _numbers(result)) for step, result in run.evaluations]
        parts.append(table(rows, ("step", "result")))
    return parts


def _success(result: dict[str, Any]) -> str:
    """Return the success rate with its interval as a sentence; empty if there is none."""
    rate, interval = result.get("success_rate"), result.get("ci95")
    if not isinstance(rate, int | float):
        return ""
    text = f"success rate {100 * rate:.1f} %"
    ends = interval if isinstance(interval, list) else []
    if len(ends) == 2 and all(isinstance(end, int | float) for end in ends):
        text += f", 95 % interval {100 * ends[0]:.1f} to {100 * ends[1]:.1f} %"
    if result.get("n") is not None:
        text += f", {result['n']} episodes"
    return text


def _numbers(result: dict[str, Any]) -> str:
    numbers = {name: v for name, v in result.items() if isinstance(v, int | float)}
    return ", ".join(f"{name} {show(value)}" for name, value in numbers.items())


def _charts(series: dict[str, Series]) -> dict[str, dict[str, Series]]:
    """Return the curves of each chart: some belong together, the rest have one each."""
    left = dict(series)
    charts = {}
    for title, names in _TOGETHER.items():
        found = {name: left.pop(name) for name in names if name in left}
        if found:
            charts[title if len(found) > 1 else next(iter(found))] = found
    return charts | {_WORDS.get(name, name): {name: points} for name, points in left.items()}


def _metrics(run: PastRun) -> list[str]:
    """Return the newest metrics but the evaluation's, which stand above."""
    metrics = run.summary.get("metrics")
    if not isinstance(metrics, dict):
        return []
    rows = [(name, value) for name, value in metrics.items() if not name.startswith("eval/")]
    return [heading("Metrics"), table(rows)] if rows else []


def _checkpoints(run: PastRun) -> list[str]:
    if not run.checkpoints:
        return []
    rows = [
        (step, "" if size is None else f"{size / 1e6:.1f} MB", remark)
        for step, size, remark in run.checkpoints
    ]
    return [heading("Checkpoints"), table(rows, ("step", "size", "")), _how_to_go_on(run)]


def _how_to_go_on(run: PastRun) -> str:
    if run.summary.get("status") == "completed":
        return ""
    return paragraph(
        f"The run goes on with: trainer run {run.path / 'config.resolved.yaml'} --resume auto"
    )


def _videos(run: PastRun, folder: Path) -> list[str]:
    """Return links to the videos, relative to the folder of the page."""
    if not run.videos:
        return []
    found = run.videos[:_MOST_VIDEOS]
    names = [Path(os.path.relpath(video, folder)).as_posix() for video in found]
    links = [f"<li><a href='{escape(name, quote=True)}'>{escape(name)}</a></li>" for name in names]
    return [heading("Videos"), "<ul>", *links, "</ul>"]


def _wheels(run: PastRun) -> list[str]:
    packages = run.environment.get("packages")
    used = run.plugins.get("distributions")
    versions = {**(packages if isinstance(packages, dict) else {})}
    versions |= used if isinstance(used, dict) else {}
    return [heading("Wheels"), table(sorted(versions.items()))] if versions else []


def _distinct(runs: Sequence[PastRun]) -> dict[str, PastRun]:
    """Return runs by a name of their own: the folder's, with its parents' where needed."""
    parts = [run.path.resolve().parts for run in runs]
    depth = 1
    longest = max(map(len, parts), default=1)
    while depth < longest and len({part[-depth:] for part in parts}) < len(parts):
        depth += 1
    return {"/".join(part[-depth:]): run for part, run in zip(parts, runs, strict=True)}


def _row(label: str, run: PastRun) -> tuple[Any, ...]:
    summary = run.summary
    metrics = summary.get("metrics")
    metrics = metrics if isinstance(metrics, dict) else {}
    evaluation = summary.get("evaluation")
    success = _success(evaluation) if isinstance(evaluation, dict) else ""
    newest = {name: points[-1][1] for name, points in run.series.items()} | metrics
    return (
        label,
        summary.get("status", "running or killed"),
        summary.get("step", ""),
        summary.get("wall_s", ""),
        newest.get("loss", ""),
        newest.get("val/loss", ""),
        success.removeprefix("success rate "),
    )


def _common_charts(runs: dict[str, PastRun]) -> dict[str, dict[str, Series]]:
    names = dict.fromkeys(name for run in runs.values() for name in run.series)
    first = [name for name in ("loss", "val/loss", "eval/success_rate", "lr") if name in names]
    return {
        _WORDS.get(name, name): {
            label: run.series[name] for label, run in runs.items() if name in run.series
        }
        for name in dict.fromkeys([*first, *names])
    }


def _differences(runs: dict[str, PastRun]) -> list[str]:
    """Return a table of the settings that are not the same in all runs."""
    settings = {label: run.settings() for label, run in runs.items()}
    keys = sorted({key for values in settings.values() for key in values})
    rows = []
    for key in keys:
        values = [str(each.get(key, "")) for each in settings.values()]
        if len(set(values)) > 1 and key != "run.out_dir":
            rows.append((key, *values))
    return [heading("What differs"), table(rows, ("key", *settings))] if rows else []
