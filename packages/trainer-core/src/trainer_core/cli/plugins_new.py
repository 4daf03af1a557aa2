"""`trainer plugins new`: writes the package of a plugin, ready to be installed and tested."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer_core.discovery.plugins import discover
from trainer_core.scaffold.kinds import KINDS
from trainer_core.scaffold.writing import default_key, write_package

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Write a package and say what comes next."""
    parser = argparse.ArgumentParser(
        prog="trainer plugins new",
        description="Write the package of a plugin: code, entry point, test, README. "
        "Nothing is downloaded.",
    )
    parser.add_argument("name", help="the distribution, such as acme-huber")
    parser.add_argument(
        "--kind", required=True, choices=list(KINDS), help="the kind of component it brings"
    )
    parser.add_argument(
        "--key", help="what a file calls the component (default: what follows the first hyphen)"
    )
    parser.add_argument(
        "--path", default=".", metavar="FOLDER", help="where the package goes (default: here)"
    )
    options = parser.parse_args(argv)
    key = options.key or default_key(options.name)
    folder, files = write_package(options.name, options.kind, key, Path(options.path), discover())
    for file in files:
        print(file)
    print(
        f"\nNext:\n  pip install -e '{folder}[test]'\n"
        f"  trainer plugins check {folder.name}\n  pytest {folder}"
    )
    return 0
