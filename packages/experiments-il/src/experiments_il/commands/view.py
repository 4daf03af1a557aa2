"""`trainer data view`: episodes side by side, as one video or as a page of videos."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

from experiments_il.commands.convert import add_source_options
from experiments_il.commands.progress import counting_display
from trainer_core.errors import DatasetError, UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from experiments_il.commands.episode_tiles import EpisodeTile
    from experiments_il.data.source import FrameSource

__all__ = ["add_view"]

_SHOWN = 9


def add_view(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `trainer data`."""
    view = commands.add_parser("view", help="show episodes side by side")
    view.add_argument("root", metavar="DIR", type=Path, help="folder or file of any format")
    view.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        required=True,
        help=".mp4: one video, a grid of episodes; .html: a page with a video of each in it",
    )
    view.add_argument(
        "--episodes", type=int, nargs="+", help=f"numbers of episodes (the first {_SHOWN})"
    )
    view.add_argument("--cameras", nargs="+", help="cameras to show (all)")
    view.add_argument("--height", type=int, default=144, help="pixels of a picture (144)")
    add_source_options(view)
    view.set_defaults(run=_view)


def _view(options: argparse.Namespace) -> int:
    from experiments_il.commands.page import check_suffix
    from experiments_il.data.formats import open_any
    from experiments_il.sim.video import require_encoder

    check_suffix(options.out, (".mp4", ".html"))
    if options.height < 16:
        message = f"--height must be at least 16 pixels, got {options.height}"
        raise UserError(message)
    require_encoder()
    source = open_any(options.root.expanduser(), fps=options.fps, task=options.task)
    chosen = _chosen(source, options.episodes)
    tiles = _tiles(source, chosen, options.cameras, options.height)
    write = _write_page if options.out.suffix == ".html" else _write_grid
    with counting_display(f"drawing {options.root}", _drawn(tiles), "pictures") as progress:
        write(options.out, source, tiles, progress)
    print(f"{options.out}: {len(tiles)} of {len(source.episodes)} episodes")
    return 0


def _chosen(source: FrameSource, given: Sequence[int] | None) -> list[int]:
    count = len(source.episodes)
    if not given:
        return list(range(min(count, _SHOWN)))
    outside = [number for number in given if not 0 <= number < count]
    if outside:
        message = (
            f"{source.root}: no episode {outside[0]}; the data set has episodes 0 to {count - 1}"
        )
        raise DatasetError(message)
    return list(dict.fromkeys(given))


def _tiles(
    source: FrameSource, chosen: Sequence[int], cameras: Sequence[str] | None, height: int
) -> list[EpisodeTile]:
    from experiments_il.commands.episode_tiles import episode_tiles
    from experiments_il.data.lerobot_format import nearest_hint
    from experiments_il.data.pictures import cameras_of

    known = cameras_of(source)
    for name in cameras or ():
        if name not in known:
            message = f"{source.root}: no camera '{name}'"
            raise DatasetError(message + (nearest_hint(name, known) if known else ""))
    return episode_tiles(source, chosen, known if cameras is None else cameras, height)


def _drawn(tiles: Sequence[EpisodeTile]) -> int:
    return sum(tile.length for tile in tiles)


def _write_grid(
    path: Path, source: FrameSource, tiles: Sequence[EpisodeTile], progress: Callable[[int], None]
) -> None:
    from experiments_il.commands.episode_tiles import Grid
    from experiments_il.sim.video import write_video

    write_video(path, Grid(tiles, progress), fps=max(1, round(source.fps)))


def _write_page(
    path: Path, source: FrameSource, tiles: Sequence[EpisodeTile], progress: Callable[[int], None]
) -> None:
    import tempfile

    from experiments_il.commands.episode_tiles import Grid
    from experiments_il.commands.page import embedded, html_page, write_file
    from experiments_il.sim.video import write_video

    parts = []
    done = 0
    with tempfile.TemporaryDirectory() as folder:
        for tile in tiles:
            before = done
            video = Path(folder) / "episode.mp4"
            grid = Grid([tile], lambda count, before=before: progress(before + count))  # type: ignore[misc]
            write_video(video, grid, fps=max(1, round(source.fps)))
            done += tile.length
            address = embedded(video.read_bytes(), "video/mp4")
            title = html.escape(f"{tile.title}: {tile.task}" if tile.task else tile.title)
            seconds = tile.length / source.fps
            parts.append(
                f"<figure><figcaption>{title} ({tile.length} frames, {seconds:.1f} s)</figcaption>"
                f'<video controls loop muted src="{address}"></video></figure>'
            )
    write_file(path, html_page(str(source.root), "".join(parts)))
