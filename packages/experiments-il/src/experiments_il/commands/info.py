"""`trainer data info`: what a data set holds, as a table, as JSON, as a page of plots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments_il.commands.convert import add_source_options

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

    from experiments_il.commands.figures import Panel
    from experiments_il.data.source import FrameSource

__all__ = ["add_info"]

_MOST_FEATURES = 12
_STRIP = 8
_NEED = "--plot"


def add_info(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `trainer data`."""
    info = commands.add_parser("info", help="print what a data set holds")
    info.add_argument("root", metavar="DIR", type=Path, help="folder or file of any format")
    info.add_argument(
        "--plot",
        metavar="FILE",
        type=Path,
        help="write lengths, histograms, ranges, curves and camera pictures: .png, or .html with "
        "everything in one file",
    )
    add_source_options(info)
    info.add_argument("--json", action="store_true", help="one JSON document for machines")
    info.set_defaults(run=_print_info)


def _print_info(options: argparse.Namespace) -> int:
    from experiments_il.commands.page import check_suffix, write_page
    from experiments_il.data.formats import open_any

    if options.plot:
        check_suffix(options.plot, (".png", ".html"))
    root = options.root.expanduser()
    source = open_any(root, fps=options.fps, task=options.task)
    summary = _summarize(source)
    lines = _lines(summary)
    if options.json:
        import json

        print(json.dumps(summary, indent=1))
    else:
        print("\n".join(lines))
    if options.plot:
        write_page(options.plot, str(root), "\n".join(lines), _panels(source), _NEED)
        if not options.json:
            print(f"\n{options.plot}: written")
    return 0


def _panels(source: FrameSource) -> list[Panel]:
    from experiments_il.commands.figures import (
        curves_panel,
        feature_panel,
        lengths_panel,
        strip_panel,
    )
    from experiments_il.data.pictures import cameras_of

    episodes = source.episodes
    columns = _float_columns(source)
    panels = [lengths_panel(episodes.length)]
    shown = sorted({0, len(episodes) // 2, len(episodes) - 1})
    for name, column in columns.items():
        panels.append(feature_panel(name, column, episodes))
        curves = [(n, column[episodes.start[n] : episodes.stop[n]]) for n in shown]
        panels.append(curves_panel(name, curves, source.fps))
    panels += [strip_panel(name, _strip(source, name)) for name in cameras_of(source)]
    return panels


def _float_columns(source: FrameSource) -> dict[str, NDArray[Any]]:
    from experiments_il.data.column_store import ColumnStore
    from experiments_il.data.episode_stream import own_features

    store = ColumnStore(source)
    names = [name for name, each in own_features(source).items() if each.dtype.startswith("float")]
    return {name: store.numbers(name).reshape(len(store), -1) for name in names[:_MOST_FEATURES]}


def _strip(source: FrameSource, name: str) -> list[tuple[float, NDArray[Any]]]:
    """Return pictures of the first episode, evenly spaced."""
    import numpy as np

    from experiments_il.data.pictures import CameraPictures

    length = int(source.episodes.length[0])
    pictures = CameraPictures(source, name)
    pictures.keep(0, length)
    frames = np.unique(np.linspace(0, length - 1, _STRIP).round().astype(int)).tolist()
    return [(frame / source.fps, pictures.at(frame)) for frame in frames]


def _summarize(source: FrameSource) -> dict[str, Any]:
    lengths = sorted(source.episodes.length.tolist())
    return {
        "root": str(source.root),
        "format": source.kind,
        "fps": source.fps,
        "episodes": len(lengths),
        "frames": sum(lengths),
        "episode_length": {
            "min": lengths[0],
            "median": lengths[len(lengths) // 2],
            "max": lengths[-1],
        },
        "tasks": list(source.tasks),
        "features": [
            {"name": feature.name, "dtype": feature.dtype, "shape": list(feature.shape)}
            | _range_of(source, feature.name)
            for feature in source.features.values()
        ],
    }


def _range_of(source: FrameSource, name: str) -> dict[str, float | None]:
    """Return the smallest and the largest value of a feature, over all dimensions."""
    from experiments_il.data.statistics import extreme_values

    low, high = extreme_values(source.statistics().get(name) or {})
    return {"min": low, "max": high}


def _lines(summary: dict[str, Any]) -> list[str]:
    length = summary["episode_length"]
    head = [
        f"{summary['root']}: {summary['format']}, {summary['fps']:g} frames/s",
        (
            f"{summary['episodes']} episodes of {length['min']} to {length['max']} frames "
            f"(median {length['median']}), {summary['frames']} frames"
        ),
        f"tasks: {', '.join(summary['tasks'])}",
        "",
    ]
    rows = [("feature", "dtype", "shape", "min", "max")]
    rows += [
        (
            feature["name"],
            feature["dtype"],
            "x".join(str(size) for size in feature["shape"]),
            *("" if feature[end] is None else f"{feature[end]:.4g}" for end in ("min", "max")),
        )
        for feature in summary["features"]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return head + table
