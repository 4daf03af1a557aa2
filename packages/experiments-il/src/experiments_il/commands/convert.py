"""`trainer data convert`: a data set of any format, written in another one."""

from __future__ import annotations

import json
import sys
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
    convert.add_argument("--json", action="store_true", help="one JSON document for machines")
    add_source_options(convert)
    convert.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> int:
    from experiments_il.data.export import LEROBOT_KINDS, export, other_names
    from experiments_il.data.formats import open_any

    if options.videos and options.to not in LEROBOT_KINDS:
        message = f"--videos goes with --to lerobot; {options.to} has no place for videos"
        raise UserError(message)
    _check_name(options.target, options.to)
    source = open_any(options.source.expanduser(), fps=options.fps, task=options.task)
    episodes = len(source.episodes)
    with counting_display(f"converting {options.source}", episodes, "episodes") as progress:
        left_out = export(
            source, options.target.expanduser(), options.to, progress, as_videos=options.videos
        )
    frames = int(source.episodes.stop[-1])
    written = open_any(options.target.expanduser(), fps=source.fps)
    renamed = other_names(source, written, options.to)
    if options.json:
        document = {
            "target": str(options.target),
            "format": options.to,
            "episodes": episodes,
            "frames": frames,
            "left_out": left_out,
            "renamed": renamed,
        }
        print(json.dumps(document, indent=1))
        return 0
    print(f"{options.target}: {episodes} episodes, {frames} frames as {options.to}")
    if left_out:
        print(f"left out, for {options.to} has no place for them: {', '.join(left_out)}")
    if renamed:
        pairs = ", ".join(f"{old} is {new}" for old, new in renamed.items())
        print(f"note: {options.to} keeps short names; read from it, {pairs}", file=sys.stderr)
    return 0


def _check_name(target: Path, kind: str) -> None:
    """Refuse the name of a file that would not be known again by its ending.

    Raises:
        UserError: It would not.
    """
    if kind == "robomimic" and target.suffix not in {".hdf5", ".h5"}:
        message = f"{target}: robomimic is one file, known by its ending: name it {target}.hdf5"
        raise UserError(message)
