"""`trainer data convert`: a data set of any format, written in another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experiments_il.commands.progress import counting_display
from trainer_core.errors import UserError

if TYPE_CHECKING:
    import argparse

__all__ = ["add_convert", "add_source_options"]


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what a format does not record."""
    parser.add_argument("--fps", type=float, help="frames per second, where the format has none")
    parser.add_argument("--task", default="", help="the robot's task, where the format has none")


def add_convert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `trainer data`."""
    convert = commands.add_parser("convert", help="write a data set in another format")
    convert.add_argument("source", metavar="SRC", type=Path, help="folder or file of any format")
    convert.add_argument("target", metavar="DST", type=Path, help="folder or file, not there yet")
    convert.add_argument(
        "--to",
        required=True,
        choices=("lerobot", "lerobot-v2.1", "robomimic", "aloha", "zarr", "zarr-v3"),
        help="LeRobotDataset v3.0 or v2.1, robomimic HDF5 (one file), ALOHA HDF5 (one file per "
        "episode), or the zarr store of diffusion_policy in version 2 (which it reads) or 3",
    )
    convert.add_argument(
        "--videos", action="store_true", help="cameras as mp4 instead of PNG; for lerobot formats"
    )
    add_source_options(convert)
    convert.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> int:
    from experiments_il.data.export import LEROBOT_KINDS, export
    from experiments_il.data.formats import open_any

    if options.videos and options.to not in LEROBOT_KINDS:
        message = f"--videos goes with --to lerobot; {options.to} has no place for videos"
        raise UserError(message)
    source = open_any(options.source.expanduser(), fps=options.fps, task=options.task)
    episodes = len(source.episodes)
    with counting_display(f"converting {options.source}", episodes, "episodes") as progress:
        left_out = export(
            source, options.target.expanduser(), options.to, progress, as_videos=options.videos
        )
    frames = int(source.episodes.stop[-1])
    print(f"{options.target}: {episodes} episodes, {frames} frames as {options.to}")
    if left_out:
        print(f"left out, for {options.to} has no place for them: {', '.join(left_out)}")
    return 0
