"""Metrics over steps as pictures: SVG without any package, PNG with matplotlib."""

from __future__ import annotations

import io
import math
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


def collect_series(records: Sequence[Mapping[str, Any]]) -> dict[str, Series]:
    """Return each metric's points, thinned evenly to a few hundred."""
    series: dict[str, Series] = {}
    for record in records:
        for name, value in record.items():
            if name not in _BESIDES and isinstance(value, int | float):
                series.setdefault(name, []).append((record["step"], float(value)))
    return {name: _thin(points) for name, points in series.items()}


def draw_svg(points: Series, width: int = 420, height: int = 180) -> str:
    """Return a curve as an SVG element, with the ends of both axes written at it."""
    steps, values = [step for step, _ in points], [value for _, value in points]
    heights = [math.log(value) for value in values] if _wants_logarithm(values) else values
    low, high = min(heights), max(heights)
    span_x, span_y = max(steps[-1] - steps[0], 1), (high - low) or 1.0
    left, bottom = 72, 18
    inner_w, inner_h = width - left - 8, height - bottom - 8
    path = " ".join(
        f"{left + inner_w * (step - steps[0]) / span_x:.1f},"
        f"{8 + inner_h * (high - value) / span_y:.1f}"
        for step, value in zip(steps, heights, strict=True)
    )
    base = 8 + inner_h
    return (
        f"<svg width='{width}' height='{height}' viewBox='0 0 {width} {height}' font-size='11'>"
        f"<path d='M{left} 8V{base}H{width - 8}' fill='none' stroke='#999'/>"
        f"<text x='{left - 4}' y='16' text-anchor='end'>{max(values):.4g}</text>"
        f"<text x='{left - 4}' y='{base}' text-anchor='end'>{min(values):.4g}</text>"
        f"<text x='{left}' y='{height - 4}'>{steps[0]}</text>"
        f"<text x='{width - 8}' y='{height - 4}' text-anchor='end'>{steps[-1]}</text>"
        f"<polyline points='{path}' fill='none' stroke='#1f6feb' stroke-width='1.5'/></svg>"
    )


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
