"""`trainer data`: record demonstrations; describe, check, convert and rank data sets."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments_il.commands.check import add_check
from experiments_il.commands.convert import add_convert, add_source_options
from experiments_il.commands.stats import add_stats

if TYPE_CHECKING:
    from experiments_il.data.source import FrameSource

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run `trainer data ...`; return the exit code.

    Raises:
        TrainerError: What went wrong; the command line interface reports it.
    """
    options = _parser().parse_args(argv)
    exit_code: int = options.run(options)
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trainer data", description="Make and inspect data sets.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    record = commands.add_parser("record", help="record demonstrations in a simulator")
    simulators = record.add_subparsers(metavar="SIMULATOR", required=True)
    metaworld = simulators.add_parser("metaworld", help="Meta-World's scripted policies")
    metaworld.add_argument("--task", required=True, help="such as pick-place-v3")
    metaworld.add_argument("--episodes", type=int, default=50, help="successful episodes (50)")
    metaworld.add_argument("--out", type=Path, required=True, help="folder of the new data set")
    metaworld.add_argument(
        "--noise",
        type=float,
        default=0.0,
        help="standard deviation of noise on executed actions; clean actions are recorded (0)",
    )
    metaworld.add_argument("--seed", type=int, default=0, help="seed of the goals (0)")
    metaworld.set_defaults(run=_record_metaworld)

    info = commands.add_parser("info", help="print what a data set holds")
    info.add_argument("root", metavar="DIR", type=Path, help="folder or file of any format")
    add_source_options(info)
    info.add_argument("--json", action="store_true", help="one JSON document for machines")
    info.set_defaults(run=_print_info)

    add_check(commands)
    add_convert(commands)
    add_stats(commands)

    score = commands.add_parser("score", help="rank episodes by what they can teach")
    score.add_argument(
        "root", metavar="RUN", type=Path, help="run of mutual_information_estimator_trainer"
    )
    score.add_argument("--out", type=Path, help="file of the scores (RUN/scores.json)")
    score.add_argument("--keep", type=float, default=0.9, help="share of episodes to keep (0.9)")
    score.add_argument("--passes", type=int, default=4, help="shuffles of the frames (4)")
    score.add_argument("--seed", type=int, default=0, help="seed of the shuffles (0)")
    score.set_defaults(run=_score)
    return parser


def _record_metaworld(options: argparse.Namespace) -> int:
    from experiments_il.sim.record import RecordingPlan, record_demonstrations
    from experiments_il.sim.recording_display import recording_display

    plan = RecordingPlan(
        task=options.task, episodes=options.episodes, noise=options.noise, seed=options.seed
    )
    with recording_display(options.task, options.episodes) as progress:
        recording = record_demonstrations(plan, options.out, progress)
    print(
        f"{options.out}: {recording.episodes} episodes, {recording.frames} frames "
        f"in {recording.wall_s:.1f} s; {recording.dropped} failed episodes were dropped"
    )
    return 0


def _score(options: argparse.Namespace) -> int:
    from experiments_il.commands.score import score_run, write_scores

    scores = score_run(options.root, passes=options.passes, seed=options.seed)
    out = options.out or options.root / "scores.json"
    kept = write_scores(scores, out, options.keep)
    print("episode   score   +-     frames")
    for each in scores:
        print(f"{each.episode:7d}  {each.score:6.3f}  {each.standard_error:5.3f}  {each.n:6d}")
    print(f"{out}: {len(kept)} of {len(scores)} episodes to keep")
    return 0


def _print_info(options: argparse.Namespace) -> int:
    from experiments_il.data.formats import open_any

    root = options.root.expanduser()
    summary = _summarize(open_any(root, fps=options.fps, task=options.task))
    if options.json:
        import json

        print(json.dumps(summary, indent=1))
    else:
        print("\n".join(_lines(summary)))
    return 0


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
