"""`report.html`, one page that needs no other file, and `loss_curve.png`."""

from __future__ import annotations

import json
import logging
from html import escape
from typing import TYPE_CHECKING, Any

from trainer_core.engine.curves import collect_series, draw_png, draw_svg
from trainer_core.loggers.jsonl import read_metrics
from trainer_core.storage import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from trainer_core.engine.curves import Series

__all__ = ["write_report"]

_log = logging.getLogger(__name__)

_STYLE = """\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse}td{border-bottom:1px solid #ddd;padding:.2rem .8rem}
td.n{text-align:right;font-variant-numeric:tabular-nums}
pre{background:#f6f6f6;padding:1rem;overflow:auto;font-size:13px}
.curves{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0}figcaption{font-size:13px}
.big{font-size:1.3rem}
"""


def write_report(out_dir: Path) -> None:
    """Write the report of a run folder from the files that are in it.

    Raises:
        StorageError: It cannot be written.
    """
    metrics_file = out_dir / "metrics.jsonl"
    records = read_metrics(metrics_file) if metrics_file.is_file() else []
    series = collect_series(records)
    loss = {name: points for name, points in series.items() if name in {"loss", "val/loss"}}
    if loss and not draw_png(loss, out_dir / "loss_curve.png"):
        _log.warning("no loss_curve.png: pip install 'trainer-core[plots]'")
    write_atomically(out_dir / "report.html", _render(out_dir, series))


def _render(out_dir: Path, series: dict[str, Series]) -> str:
    summary = _read_json(out_dir / "summary.json")
    environment = _read_json(out_dir / "environment.json")
    config_file = out_dir / "config.resolved.yaml"
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{escape(out_dir.name)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(out_dir.name)}</h1>",
        f"<p>{escape(_describe(summary))}</p>",
        *_evaluation(summary.get("evaluation") or {}),
        *_curves(series),
        *_table("Metrics", _training_metrics(summary)),
        *_videos(out_dir),
    ]
    if config_file.is_file():
        text = config_file.read_text(encoding="utf-8")
        parts.append(f"<h2>Configuration</h2><pre>{escape(text)}</pre>")
    if environment:
        parts.append(f"<h2>Environment</h2><pre>{escape(json.dumps(environment, indent=1))}</pre>")
    return "\n".join([*parts, "</body></html>", ""])


def _describe(summary: dict[str, Any]) -> str:
    status, step = summary.get("status", "running"), summary.get("step", 0)
    return f"{status} after {step} steps in {summary.get('wall_s', 0):.0f} s"


def _evaluation(result: dict[str, Any]) -> list[str]:
    if not result:
        return []
    parts = ["<h2>Evaluation</h2>"]
    rate, interval = result.get("success_rate"), result.get("ci95")
    if isinstance(rate, int | float):
        text = f"success rate {100 * rate:.1f} %"
        if isinstance(interval, list) and len(interval) == 2:
            text += f", 95 % interval {100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"
        if result.get("n") is not None:
            text += f", {result['n']} episodes"
        parts.append(f"<p class='big'>{escape(text)}</p>")
    numbers = {name: value for name, value in result.items() if isinstance(value, int | float)}
    return [*parts, *_rows(numbers)]


def _curves(series: dict[str, Series]) -> list[str]:
    figures = [
        f"<figure>{draw_svg(points)}<figcaption>{escape(name)}</figcaption></figure>"
        for name, points in series.items()
        if len(points) > 1
    ]
    return ["<h2>Curves</h2><div class='curves'>", *figures, "</div>"] if figures else []


def _training_metrics(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics but the evaluation's, which stand above."""
    metrics = summary.get("metrics") or {}
    return {name: value for name, value in metrics.items() if not name.startswith("eval/")}


def _table(title: str, values: dict[str, Any]) -> list[str]:
    return [f"<h2>{escape(title)}</h2>", *_rows(values)] if values else []


def _rows(values: dict[str, Any]) -> list[str]:
    lines = [
        f"<tr><td>{escape(str(name))}</td><td class='n'>{escape(_show(value))}</td></tr>"
        for name, value in values.items()
    ]
    return ["<table>", *lines, "</table>"]


def _videos(out_dir: Path) -> list[str]:
    videos = sorted((out_dir / "evaluation").rglob("*.mp4"))
    if not videos:
        return []
    names = [video.relative_to(out_dir).as_posix() for video in videos]
    links = [f"<li><a href='{escape(name, quote=True)}'>{escape(name)}</a></li>" for name in names]
    return ["<h2>Videos</h2><ul>", *links, "</ul>"]


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
