"""Plots of a data set: lengths of episodes, histograms, ranges over time, curves, camera strips."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

from trainer_core.errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from experiments_il.data.episodes import Episodes

    Panel = tuple[float, Callable[[Any], None]]
    """Height in inches, and what draws it."""

__all__ = [
    "curves_panel",
    "feature_panel",
    "lengths_panel",
    "new_figure",
    "strip_panel",
    "to_png",
]

_WIDTH = 12.0
_MOST_LINES = 16


def new_figure(
    width: float, height: float, need: str, layout: Literal["constrained"] | None = "constrained"
) -> Any:
    """Return an empty figure.

    Args:
        width: Inches.
        height: Inches.
        need: What it is for, for the message without matplotlib.
        layout: matplotlib's layout engine; None: what is drawn says where it is.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingPackageError(need, "trainer-core[plots]") from error
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def to_png(panels: Sequence[Panel], need: str) -> bytes:
    """Return panels one below the other as a PNG."""
    figure = new_figure(_WIDTH, sum(height for height, _draw in panels), need)
    parts = figure.subfigures(len(panels), 1, height_ratios=[height for height, _draw in panels])
    for part, (_height, draw) in zip([parts] if len(panels) == 1 else parts, panels, strict=True):
        draw(part)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=80)
    return stream.getvalue()


def lengths_panel(lengths: NDArray[Any]) -> Panel:
    """Return the lengths of the episodes, in their order and as a histogram."""

    def draw(part: Any) -> None:
        order, counts = part.subplots(1, 2)
        order.bar(range(len(lengths)), lengths, width=0.9)
        order.xaxis.get_major_locator().set_params(integer=True)
        _label(order, "frames of each episode", "episode")
        counts.hist(lengths, bins=min(30, len(lengths)))
        _label(counts, "lengths of episodes", "frames")

    return 2.2, draw


def feature_panel(name: str, column: NDArray[Any], episodes: Episodes) -> Panel:
    """Return a feature's histogram and its range in each episode, a colour per dimension.

    Args:
        name: The feature.
        column: `(frames, dimensions)`.
        episodes: Their rows.
    """

    def draw(part: Any) -> None:
        histogram, ranges = part.subplots(1, 2)
        edges = zip(episodes.start.tolist(), episodes.stop.tolist(), strict=True)
        blocks = [column[start:stop] for start, stop in edges]
        for dimension in range(min(column.shape[1], _MOST_LINES)):
            values = column[:, dimension].astype(float)
            histogram.hist(values, bins=50, histtype="step", label=str(dimension))
            low = [float(block[:, dimension].min()) for block in blocks]
            high = [float(block[:, dimension].max()) for block in blocks]
            ranges.fill_between(range(len(blocks)), low, high, alpha=0.25, step="mid")
        _label(histogram, _titled(name, column, "histogram"), "value")
        ranges.xaxis.get_major_locator().set_params(integer=True)
        _label(ranges, "smallest to largest value of each episode", "episode")
        if column.shape[1] > 1:
            histogram.legend(fontsize=6, ncols=2)

    return 2.6, draw


def curves_panel(name: str, curves: Sequence[tuple[int, NDArray[Any]]], fps: float) -> Panel:
    """Return a feature over time in some episodes.

    Args:
        name: The feature.
        curves: Number and values `(frames, dimensions)` of each episode.
        fps: Frames per second.
    """

    def draw(part: Any) -> None:
        all_axes = part.subplots(1, len(curves), sharey=True, squeeze=False)[0]
        for axes, (episode, values) in zip(all_axes, curves, strict=True):
            seconds = [frame / fps for frame in range(len(values))]
            axes.plot(seconds, values[:, :_MOST_LINES], linewidth=0.9)
            _label(axes, _titled(name, values, f"episode {episode}"), "s")

    return 2.4, draw


def strip_panel(name: str, pictures: Sequence[tuple[float, NDArray[Any]]]) -> Panel:
    """Return pictures of a camera side by side, each with its second."""

    def draw(part: Any) -> None:
        all_axes = part.subplots(1, len(pictures), squeeze=False)[0]
        part.suptitle(name, fontsize=8)
        for axes, (second, picture) in zip(all_axes, pictures, strict=True):
            axes.imshow(picture)
            axes.set_title(f"{second:.1f} s", fontsize=7)
            axes.set_axis_off()

    height, width = pictures[0][1].shape[:2]
    return 0.5 + min(3.0, _WIDTH / len(pictures) * height / width), draw


def _titled(name: str, column: NDArray[Any], what: str) -> str:
    dims = column.shape[1]
    rest = f" (the first {_MOST_LINES} of {dims} dimensions)" if dims > _MOST_LINES else ""
    return f"{name}: {what}{rest}"


def _label(axes: Any, title: str, below: str) -> None:
    axes.set_title(title, fontsize=8)
    axes.set_xlabel(below, fontsize=7)
    axes.tick_params(labelsize=6)
