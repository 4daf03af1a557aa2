"""`trainer ckpt verify`: reads every file of the checkpoints; torch is not imported."""

from __future__ import annotations

from trainer_core.checkpoint.inventory import (
    checkpoint_folders,
    describe_checkpoint,
    problem_of,
)
from trainer_core.cli.ckpt_common import ckpt_parser, human_size, progress_bar

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Compare every file with its manifest; return 1 if one is not as it was written."""
    parser = ckpt_parser("verify", "Read every file and compare it with its checkpoint's manifest.")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    options = parser.parse_args(argv)
    found = []
    for folder in checkpoint_folders(options.run):
        size = describe_checkpoint(folder).bytes
        with progress_bar(folder.name, size) as progress:
            problem = problem_of(folder, progress)
        found.append({"path": str(folder), "bytes": size, "problem": problem})
        if not options.json:
            print(f"{folder.name}  {human_size(size):>9}  {problem or 'whole'}")
    if options.json:
        import json

        print(json.dumps({"schema": 1, "checkpoints": found}, indent=1))
    return int(any(entry["problem"] for entry in found))
