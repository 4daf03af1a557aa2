"""`trainer ckpt ls`: the checkpoints of a run, newest first; torch is not imported."""

from __future__ import annotations

from trainer_core.checkpoint.inventory import Entry, checkpoint_folders, describe_checkpoint
from trainer_core.cli.ckpt_common import ckpt_parser, human_size
from trainer_core.cli.plugins_table import table, terminal_width

__all__ = ["main"]

_HEADINGS = ("step", "written", "size", "ranks", "metrics", "")
_SHOWN = 4


def main(argv: list[str]) -> int:
    """Print the checkpoints; the exit code is 0 whatever state they are in."""
    parser = ckpt_parser("ls", "List the checkpoints of a run, the newest first.")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    options = parser.parse_args(argv)
    entries = [describe_checkpoint(folder) for folder in checkpoint_folders(options.run)]
    if options.json:
        import json

        document = {"schema": 1, "checkpoints": [entry._asdict() for entry in entries]}
        print(json.dumps(document, indent=1))
        return 0
    rows = [_row(entry, is_last=number == 0) for number, entry in enumerate(entries)]
    print(table(_HEADINGS, rows, width=terminal_width(), elastic="metrics"))
    return 0


def _row(entry: Entry, *, is_last: bool) -> tuple[str, ...]:
    measured = {k: v for k, v in entry.metrics.items() if k.startswith(("val/", "eval/"))}
    shown = measured or {k: v for k, v in entry.metrics.items() if k == "loss"}
    words = ["best"] if entry.is_best else []
    words += ["last"] if is_last else []
    words += [f"damaged: {entry.problem}"] if entry.problem else []
    return (
        str(entry.step),
        entry.created.replace("T", " ").replace("+00:00", " UTC"),
        human_size(entry.bytes),
        str(entry.world_size or ""),
        " ".join(f"{name}={value:.4g}" for name, value in [*shown.items()][:_SHOWN]),
        ", ".join(words),
    )
