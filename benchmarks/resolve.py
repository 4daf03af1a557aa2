"""CPU time of resolving an experiment, beside plain PyYAML loading of the same files.

The experiment is generated: 265 lines in 7 files, 24 components, 21 references, 2 overrides. Both
sides read the files from the page cache; their order is rotated from round to round.

    python benchmarks/resolve.py
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from policy_constructor.config import resolve_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMPONENTS = 24
LINES = 265
OVERRIDES = ("params.width=512", "run.seed=7")


def generate(folder: Path) -> Path:
    """Write the experiment's files and return the one that includes the others."""
    files = [folder / f"components_{index}.yaml" for index in range(5)]
    references = iter(range(18))
    for index, file in enumerate(files):
        numbers = range(index, COMPONENTS, len(files))
        parts = (component(number, references) for number in numbers)
        file.write_text("components:\n" + "".join(parts))
    runtime = folder / "runtime.yaml"
    runtime.write_text("params:\n  width: 256\n  depth: 4\n  rate: 1e-4\n")
    names = ", ".join(file.name for file in [runtime, *files])
    head = [
        "schema_version: 1",
        f"defaults: [{names}]",
        "run:",
        "  name: bench",
        "  seed: 0",
        "  out_dir: runs/${run.name}",
        "optimizer:",
        "  _type_: adamw",
        "  lr: ${params.rate}",
        "  betas: [0.9, 0.999]",
        "trainer:",
        "  _type_: default",
        "  hidden: ${params.width}",
        "callbacks:",
    ]
    rest = LINES - len(head) - sum(len(f.read_text().splitlines()) for f in [runtime, *files])
    entry = folder / "experiment.yaml"
    entry.write_text("\n".join([*head, *(f"- cb_{index}" for index in range(rest))]) + "\n")
    return entry


def component(number: int, references: Iterator[int]) -> str:
    """Return one component of nine lines; it takes a reference while there are any left."""
    width = "${params.width}" if next(references, None) is not None else "256"
    return (
        f"  part_{number}:\n"
        f"    _type_: block_{number % 6}\n"
        f"    width: {width}\n"
        f"    depth: {number}\n"
        "    dropout: 0.1\n"
        "    activation: gelu\n"
        "    dims: [64, 128, 256]\n"
        "    options: {bias: true, scale: 1.0e-3}\n"
        "    name: a part with a name of its own\n"
    )


def cpu_ms(call: Callable[[], object]) -> float:
    """Return the CPU milliseconds of one call."""
    start = time.process_time()
    call()
    return (time.process_time() - start) * 1e3


def main() -> None:
    """Print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        entry = generate(Path(name))
        files = sorted(Path(name).glob("*.yaml"))
        count = sum(len(file.read_text().splitlines()) for file in files)

        def load_plain() -> None:
            for file in files:
                yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)

        calls: dict[str, Callable[[], object]] = {
            "resolve": lambda: resolve_config(entry, OVERRIDES),
            "CSafeLoader": load_plain,
        }
        times: dict[str, list[float]] = {key: [] for key in calls}
        for turn in range(rounds):
            order = list(calls) if turn % 2 else list(reversed(calls))
            for key in order:
                times[key].append(cpu_ms(calls[key]))
    first = times["resolve"][0]
    middle = {key: statistics.median(values) for key, values in times.items()}
    ratios = [a / b for a, b in zip(times["resolve"], times["CSafeLoader"], strict=True)]
    print(f"{count} lines, {len(files)} files, {COMPONENTS} components; CPU ms, {rounds} rounds")
    print(f"resolve_config        {middle['resolve']:6.2f}   (first call {first:.2f})")
    print(f"yaml.load CSafeLoader {middle['CSafeLoader']:6.2f}")
    print(f"ratio                 {statistics.median(ratios):6.2f}")


if __name__ == "__main__":
    main()
