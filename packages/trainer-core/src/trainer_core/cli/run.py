"""`trainer run`: trains as the file says; torch is imported when the run starts."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from trainer_core.cli.arguments import config_parser, parse_config_line
from trainer_core.cli.commands import installed_commands
from trainer_core.engine.signals import leave_early
from trainer_core.run import EXIT_CODES, run

if TYPE_CHECKING:
    from trainer_core.results import RunResult

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run an experiment; return the exit code of its status."""
    parser = config_parser("run", "Train as the file says, or go on where the last run stopped.")
    parser.add_argument("--runner", help="use this runner in place of the file's, such as ddp")
    parser.add_argument(
        "--resume", metavar="auto|none|best|STEP|PATH", help="which checkpoint to start from"
    )
    parser.add_argument(
        "--allow",
        metavar="NAME[,NAME]",
        type=lambda text: text.split(","),
        help="go on although this differs from the checkpoint: data, schedule, ...",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="build everything, compute one batch and report; nothing is trained",
    )
    parser.add_argument(
        "--sweep",
        nargs="+",
        action="extend",
        metavar="KEY=VALUES",
        help="run a grid: lr=1e-3,1e-4 seed=range(3); also linspace(a,b,n), logspace(a,b,n)",
    )
    parser.add_argument("--json", action="store_true", help="with --sweep or --dry-run: print JSON")
    options = parse_config_line(parser, argv)
    if options.sweep:
        if options.allow is not None:
            parser.error("--allow goes with one run; for all trials of a sweep, set run.allow")
        from trainer_core.cli.sweep import run_sweep

        return run_sweep(options)
    if options.json and not options.dry_run:
        parser.error(
            "--json goes with --sweep or --dry-run; the result of one run is its summary.json"
        )
    with leave_early():  # from here on: importing torch alone takes seconds
        result = run(
            options.config,
            options.overrides,
            runner=options.runner,
            resume=options.resume,
            allow=options.allow,
            dry_run=options.dry_run,
        )
    if result.rank:
        return EXIT_CODES.get(result.status, 0)
    if options.json:
        _say(json.dumps(result.report, indent=1))
        return EXIT_CODES.get(result.status, 0)
    text = _summary(result, goes_on=options.resume in {None, "auto"})
    if sys.stdout is not None and sys.stdout.isatty() and result.status != "checked":
        text += "\n" + _next_steps(result)
    _say(text)
    return EXIT_CODES.get(result.status, 0)


def _summary(result: RunResult, *, goes_on: bool = True) -> str:
    if result.report:
        from trainer_core.engine.dry_run import describe_dry_run

        return describe_dry_run(result.report)
    if result.status == "checked":
        return "everything is checked and built; nothing was trained"
    lines = [f"{result.status} after {result.step} steps, {result.wall_s:.0f} s"]
    if result.stop_reason:
        lines[0] += f": {result.stop_reason}"
    rate = result.evaluation.get("success_rate")
    if rate is not None:
        low, high = result.evaluation.get("ci95", (rate, rate))
        episodes = result.evaluation.get("n")
        lines.append(
            f"success rate {rate:.1%} of {episodes} episodes (95% interval {low:.1%} to {high:.1%})"
        )
    if result.status == "interrupted":
        command = "the same command" if goes_on else "the same command with --resume auto"
        lines.append(f"the state is saved; {command} goes on")
    report = result.out_dir / "report.html"
    lines.append(f"see {report if report.exists() else result.out_dir}")
    return "\n".join(lines)


def _next_steps(result: RunResult) -> str:
    """Return where things are and what may be done with them, for a reader at a terminal."""
    from trainer_core.checkpoint.layout import list_steps

    saved = list_steps(result.out_dir / "checkpoints")
    rows = [("weights", str(saved[0][1]))] if saved else []
    rows.append(("metrics", str(result.out_dir / "metrics.jsonl")))
    if any(ref.key == "eval" for ref in installed_commands()):
        rows.append(("evaluate", f"trainer eval {result.out_dir}"))
    rows.append(("compare", f"trainer report {result.out_dir} OTHER_RUN"))
    if result.status == "completed":
        rows.append(("go on", f"the same command with trainer.max_steps={2 * result.step}"))
    return "\n".join(f"  {name:<10}{text}" for name, text in rows)


def _say(text: str) -> None:
    """Print how a run ended; a reader that has left does not change how it did."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
