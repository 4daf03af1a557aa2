"""`trainer data stats`: what the numbers of a data set look like, dimension by dimension."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments_il.commands.convert import add_source_options

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

__all__ = ["add_stats"]

_BINS = 12
_BARS = " ▁▂▃▄▅▆▇█"
_SHOWN = ("min", "q01", "mean", "q99", "max", "std")
_MOST_PLOTS = 64


def add_stats(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `trainer data`."""
    stats = commands.add_parser("stats", help="statistics and histograms of each dimension")
    stats.add_argument("root", metavar="DIR", type=Path, help="folder or file of any format")
    stats.add_argument("--keys", nargs="+", help="features to look at (all float features)")
    stats.add_argument("--plot", metavar="PNG", type=Path, help="write histograms as a picture")
    add_source_options(stats)
    stats.add_argument("--json", action="store_true", help="one JSON document for machines")
    stats.set_defaults(run=_stats)


def _stats(options: argparse.Namespace) -> int:
    from experiments_il.commands.page import check_suffix

    if options.plot:
        check_suffix(options.plot, (".png",))
    columns = _columns(options)
    statistics = {name: _describe(values) for name, values in columns.items()}
    if options.json:
        import json

        print(json.dumps({"schema": 1, "features": statistics}, indent=1))
    else:
        print("\n".join(_lines(statistics)))
    if options.plot and columns:
        drawn = _plot(columns, options.plot)
        if not options.json:
            print(drawn)
    return 0


def _columns(options: argparse.Namespace) -> dict[str, NDArray[Any]]:
    """Return the numbers of each feature, `(frames, dimensions)`."""
    from experiments_il.data.column_store import ColumnStore
    from experiments_il.data.formats import open_any
    from experiments_il.data.lerobot_format import DEFAULT_FEATURES, nearest_hint
    from trainer_core.errors import DatasetError

    source = open_any(options.root.expanduser(), fps=options.fps, task=options.task)
    numeric = {name: each for name, each in source.features.items() if each.is_numeric}
    own = set(numeric) - {feature.name for feature in DEFAULT_FEATURES}
    floats = [name for name in numeric if name in own and numeric[name].dtype.startswith("float")]
    names = options.keys or floats
    for name in names:
        if name not in numeric:
            message = f"{source.root}: no numbers under '{name}'{nearest_hint(name, numeric)}"
            raise DatasetError(message)
    store = ColumnStore(source)
    return {name: store.numbers(name).reshape(len(store), -1) for name in names}


def _describe(values: NDArray[Any]) -> dict[str, list[Any]]:
    """Return the statistics of each dimension, and counts in equal bins from min to max."""
    import numpy as np

    from experiments_il.data.statistics import column_statistics

    statistics = column_statistics(values)
    found = {name: statistics[name].tolist() for name in _SHOWN}
    columns = np.asarray(values, np.float64).T
    return found | {"histogram": [np.histogram(each, _BINS)[0].tolist() for each in columns]}


def _lines(statistics: dict[str, dict[str, list[Any]]]) -> list[str]:
    rows: list[tuple[str, ...]] = [("feature", "", *_SHOWN, "histogram")]
    for name, each in statistics.items():
        for dimension, counts in enumerate(each["histogram"]):
            numbers = (f"{each[key][dimension]:.4g}" for key in _SHOWN)
            label = name if dimension == 0 else ""
            rows.append((label, str(dimension), *numbers, _bars(counts)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _bars(counts: list[int]) -> str:
    """Return counts as a line of bars; every bin that holds something is seen."""
    top = max(counts)
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // top)] for count in counts)


def _plot(columns: dict[str, NDArray[Any]], path: Path) -> str:
    """Draw a histogram of each dimension, as many as one picture holds; return what was drawn."""
    from experiments_il.commands.figures import new_figure
    from trainer_core.errors import StorageError

    panels = [
        (f"{name}[{dimension}]", values[:, dimension])
        for name, values in columns.items()
        for dimension in range(values.shape[1])
    ]
    shown = panels[:_MOST_PLOTS]
    across = min(4, len(shown))
    down = -(-len(shown) // across)
    figure = new_figure(3 * across, 2 * down, "--plot")
    for number, (title, values) in enumerate(shown, start=1):
        axes = figure.add_subplot(down, across, number)
        axes.hist(values.astype(float), bins=50)
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=6)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        message = f"{path}: cannot be written: {error.strerror or error}"
        raise StorageError(message) from error
    rest = f"; the first {_MOST_PLOTS} of {len(panels)}" if len(panels) > _MOST_PLOTS else ""
    return f"{path}: histograms of {len(shown)} dimensions{rest}"
