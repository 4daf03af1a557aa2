"""`trainer config schema`: a JSON Schema of what is installed, for editors."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from trainer_core.cli.plugins_switches import add_switches, apply_switches
from trainer_core.discovery.plugins import discover
from trainer_core.errors import UserError
from trainer_core.experiment.files import exists, is_file
from trainer_core.experiment.json_schema import build_schema
from trainer_core.storage import make_folder, write_atomically

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Print the schema, or write it to a file."""
    parser = argparse.ArgumentParser(
        prog="trainer config schema",
        description="Write a JSON Schema of experiment and model files for what is installed.",
    )
    parser.add_argument("--output", metavar="FILE", help="write to this file instead of stdout")
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised")
    add_switches(parser)
    options = parser.parse_args(argv)
    apply_switches(options)
    if options.output is not None and exists(options.output) and not is_file(options.output):
        msg = f"cannot write {options.output}: it is not a file"
        raise UserError(msg)
    schema = build_schema(discover())
    text = json.dumps(schema, indent=1) + "\n"
    if options.output is None:
        print(text, end="")
        return 0
    file = Path(options.output)
    make_folder(file.absolute().parent)
    write_atomically(file, text)
    count = sum("title" in definition for definition in schema["$defs"].values())
    print(f"{file}: experiment and model files with {count} components")
    return 0
