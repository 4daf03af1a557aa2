"""`trainer report`: a page about a run, however it ended, or about several side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer_core.engine.pastrun import is_run_folder
from trainer_core.engine.report import write_comparison, write_report
from trainer_core.errors import UserError

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Write the report of one run into its folder, or a comparison of several."""
    parser = argparse.ArgumentParser(
        prog="trainer report",
        usage="trainer report RUN [RUN ...] [-o FILE]",
        description="Write one HTML page about a run folder, whether the run is completed, goes "
        "on, failed or was killed: report.html in it. Several RUNs, or a folder of runs such as a "
        "sweep's, are compared side by side in comparison.html. The page needs no other file.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run folder, or a folder of them")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the page here")
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised")
    options = parser.parse_args(argv)
    folders = list(dict.fromkeys(path for word in options.runs for path in _find_runs(Path(word))))
    output = None if options.output is None else Path(options.output)
    if output is not None and output.is_dir():
        msg = f"{output} is a folder; name the file to write"
        raise UserError(msg)
    if len(folders) == 1:
        print(write_report(folders[0], output))
        return 0
    output = output or Path("comparison.html")
    write_comparison(folders, output)
    print(output)
    return 0


def _find_runs(path: Path) -> list[Path]:
    """Return a run folder itself, or the runs in a folder of them.

    Raises:
        UserError: There is no run.
    """
    if is_run_folder(path):
        return [path]
    if not path.exists():
        msg = f"there is no folder {path}"
        raise UserError(msg)
    if path.is_dir():
        inner = [each for each in sorted(path.iterdir()) if is_run_folder(each)]
        if inner:
            return inner
    msg = (
        f"{path} is no run folder: it has no summary.json, metrics.jsonl or config.resolved.yaml, "
        "and no folder in it has"
    )
    raise UserError(msg)
