"""`trainer data record`: demonstrations of a simulator's scripted expert as a data set."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from experiments_il.sim.modes_simulator import METAWORLD_MODES
from experiments_il.sim.simulators import ALOHA, METAWORLD, PUSHT, Simulator

__all__ = ["add_record"]

_HELP = {
    "metaworld": "Meta-World's scripted policies",
    "metaworld_modes": "Meta-World with a pillar in the way, passed on either side",
    "pusht": "PushT, by an expert that tries pushes before it makes one",
    "aloha": "gym-aloha's two arms, by way-points (transfer-cube)",
}


def add_record(commands: Any) -> None:
    """Add the command to those of `trainer data`."""
    record = commands.add_parser("record", help="record demonstrations in a simulator")
    simulators = record.add_subparsers(metavar="SIMULATOR", required=True)
    for simulator in (METAWORLD, METAWORLD_MODES, PUSHT, ALOHA):
        _add_simulator(simulators, simulator)


def _add_simulator(simulators: Any, simulator: Simulator) -> None:
    parser = simulators.add_parser(simulator.name, help=_HELP[simulator.name])
    if simulator.tasks:
        first = simulator.tasks[0]
        parser.add_argument("--task", default=first, help=f"name of the task ({first})")
    else:
        parser.add_argument("--task", required=True, help="such as pick-place-v3")
    parser.add_argument("--episodes", type=int, default=50, help="successful episodes (50)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new data set")
    parser.add_argument(
        "--noise",
        type=float,
        default=0.0,
        help="standard deviation of noise on executed actions, as a share of half their range; "
        "clean actions are recorded (0)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the episodes (0)")
    parser.add_argument(
        "--expert",
        default="scripted",
        help=f"who demonstrates: {', '.join(simulator.experts)} (scripted)",
    )
    parser.add_argument(
        "--camera",
        action="append",
        default=[],
        metavar="[KEY=]NAME",
        help="also record what a camera sees, as observation.images.NAME or KEY; may be repeated; "
        f"there is {', '.join(simulator.cameras)}",
    )
    parser.add_argument(
        "--image-size",
        type=_size,
        default=(64, 64),
        metavar="HxW",
        help="height and width of pictures (64x64)",
    )
    parser.set_defaults(run=_record, simulator=simulator)


def _record(options: argparse.Namespace) -> int:
    from experiments_il.sim.record import RecordingPlan, record_demonstrations
    from experiments_il.sim.recording_display import recording_display

    plan = RecordingPlan(
        task=options.task,
        episodes=options.episodes,
        simulator=options.simulator,
        noise=options.noise,
        seed=options.seed,
        expert=options.expert,
        cameras=dict(_camera(text) for text in options.camera),
        image_size=options.image_size,
    )
    with recording_display(options.task, options.episodes) as progress:
        recording = record_demonstrations(plan, options.out, progress)
    print(
        f"{options.out}: {recording.episodes} episodes, {recording.frames} frames "
        f"in {recording.wall_s:.1f} s; {recording.dropped} failed episodes were dropped"
    )
    return 0


def _camera(text: str) -> tuple[str, str]:
    """Return observation key and camera of `KEY=NAME` or `NAME`."""
    key, equals, name = text.rpartition("=")
    return (key, name) if equals else (f"observation.images.{name}", name)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        message = f"expected height and width such as 48x64, got '{text}'"
        raise argparse.ArgumentTypeError(message)
    return int(match[1]), int(match[2])
