"""Metrics over steps as pictures: SVG without any package, PNG with matplotlib."""

from __future__ import annotations

import io
import math
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

from trainer_core.storage import storage_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Series", "collect_series", "draw_png", "draw_svg"]

Series: TypeAlias = list[tuple[int, float]]
"""Points (step, value)."""

_BESIDES = ("step", "epoch", "samples")
_MOST_POINTS = 600
_LARGEST = 1e300
_LINE = 16
_LONGEST_NAME = 60
_COLORS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#bf3989", "#0a7ea4", "#57606a")


def collect_series(records: Sequence[Mapping[str, Any]]) -> dict[str, Series]:
    """Return each metric's points, thinned evenly to a few hundred."""
    series: dict[str, Series] = {}
    for record in records:
        for name, value in record.items():
            if name not in _BESIDES and isinstance(value, int | float) and _is_drawable(value):
                series.setdefault(name, []).append((record["step"], float(value)))
    return {name: _thin(points) for name, points in series.items()}


def _is_drawable(value: float) -> bool:
    return abs(value) <= _LARGEST  # also False for nan


def draw_svg(curves: Mapping[str, Series], width: int = 420, height: int = 180) -> str:
    """Return curves as an SVG element, with the ends of both axes written at it.

    Several curves have their names below; each has at least one point.
    """
    points = [point for curve in curves.values() for point in curve]
    values = [value for _, value in points]
    is_steep = _wants_logarithm(values)
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    ends = [math.log(v) if is_steep else v for v in (min(values), max(values))]
    span_x, span_y = max(last - first, 1), (ends[1] - ends[0]) or 1.0
    left, bottom = 72, 18
    inner_w, inner_h = width - left - 8, height - bottom - 8

    def place(step: int, value: float) -> str:
        scaled = math.log(value) if is_steep else value
        x = left + inner_w * (step - first) / span_x
        return f"{x:.1f},{8 + inner_h * (ends[1] - scaled) / span_y:.1f}"

    drawn = []
    for number, curve in enumerate(curves.values()):
        color = _COLORS[number % len(_COLORS)]
        path = " ".join(place(step, value) for step, value in curve)
        drawn.append(f"<polyline points='{path}' fill='none' stroke='{color}' stroke-width='1.5'/>")
        if len(curve) == 1:
            x, y = path.split(",")
            drawn.append(f"<circle cx='{x}' cy='{y}' r='3' fill='{color}'/>")
    names = _legend(list(curves), left, height) if len(curves) > 1 else ""
    whole = height + (_LINE * len(curves) if names else 0)
    base = 8 + inner_h
    return (
        f"<svg width='{width}' height='{whole}' viewBox='0 0 {width} {whole}' font-size='11'>"
        f"<path d='M{left} 8V{base}H{width - 8}' fill='none' stroke='#999'/>"
        f"<text x='{left - 4}' y='16' text-anchor='end'>{max(values):.4g}</text>"
        f"<text x='{left - 4}' y='{base}' text-anchor='end'>{min(values):.4g}</text>"
        f"<text x='{left}' y='{height - 4}'>{first}</text>"
        f"<text x='{width - 8}' y='{height - 4}' text-anchor='end'>{last}</text>"
        f"{''.join(drawn)}{names}</svg>"
    )


def _legend(names: Sequence[str], left: int, top: int) -> str:
    lines = []
    for number, name in enumerate(names):
        y = top + _LINE * (number + 1) - 4
        color = _COLORS[number % len(_COLORS)]
        lines.append(f"<path d='M{left} {y - 4}h16' stroke='{color}' stroke-width='3'/>")
        lines.append(f"<text x='{left + 22}' y='{y}'>{escape(name[:_LONGEST_NAME])}</text>")
    return "".join(lines)


def draw_png(series: Mapping[str, Series], path: Path) -> bool:
    """Draw curves over steps into a PNG file; return False if matplotlib is not installed.

    Raises:
        StorageError: The file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - optional package
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional package
    except ImportError:
        return False
    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, points in series.items():
        marker = "o" if len(points) < 3 else None  # a line of one point cannot be seen
        steps, heights = zip(*points, strict=True)
        axes.plot(steps, heights, label=name, marker=marker)
    values = [value for points in series.values() for _, value in points]
    if _wants_logarithm(values):
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    with storage_errors(path):
        path.write_bytes(buffer.getvalue())
    return True


def _wants_logarithm(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) > 10 * min(values)


def _thin(points: Series) -> Series:
    stride = -(-len(points) // _MOST_POINTS)
    return [*points[:-1:stride], points[-1]] if stride > 1 else points
