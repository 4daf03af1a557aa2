"""CPU time of resolving an experiment, beside plain PyYAML loading and Hydra's compose of the same.

The experiment is generated: 265 lines in 7 files, 24 components, 21 references, 2 overrides. All
sides read the files from the page cache; their order is rotated from round to round, and they must
give equal values.

    python benchmarks/resolve.py
    python benchmarks/resolve.py --with-hydra      where hydra-core is installed
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def generate_for_hydra(entry: Path, folder: Path) -> None:
    """Write the same experiment in Hydra's dialect: the list of defaults differs."""
    folder.mkdir()
    for file in entry.parent.glob("*.yaml"):
        text = file.read_text()
        if file == entry:
            text = re.sub(r"(defaults: \[.*)\]", r"\1, _self_]", text.replace(".yaml", ""))
        (folder / file.name).write_text(text)


def hydra_compose(folder: Path) -> Callable[[], Any]:
    """Return a call that composes and resolves the experiment; Hydra is initialised once."""
    hydra = importlib.import_module("hydra")
    to_container = importlib.import_module("omegaconf").OmegaConf.to_container
    hydra.initialize_config_dir(str(folder), version_base="1.3").__enter__()

    def compose() -> Any:
        config = hydra.compose("experiment", overrides=list(OVERRIDES))
        return to_container(config, resolve=True)

    return compose


def cpu_ms(call: Callable[[], object]) -> float:
    """Return the CPU milliseconds of one call."""
    start = time.process_time()
    call()
    return (time.process_time() - start) * 1e3


def main() -> None:
    """Print the medians and their ratios, the latter taken round by round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--with-hydra", action="store_true", help="compare with hydra-core as well")
    options = parser.parse_args()
    if options.with_hydra and importlib.util.find_spec("hydra") is None:
        parser.error("hydra-core is not installed here: pip install hydra-core")
    with tempfile.TemporaryDirectory() as name:
        entry = generate(Path(name))
        files = sorted(Path(name).glob("*.yaml"))
        count = sum(len(file.read_text().splitlines()) for file in files)

        def load_plain() -> None:
            for file in files:
                yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)

        calls: dict[str, Callable[[], Any]] = {
            "resolve_config": lambda: resolve_config(entry, OVERRIDES),
            "yaml.load CSafeLoader": load_plain,
        }
        if options.with_hydra:
            folder = Path(name) / "hydra"
            generate_for_hydra(entry, folder)
            calls["hydra.compose"] = compose = hydra_compose(folder)
            if compose() != resolve_config(entry, OVERRIDES).data:
                parser.error("hydra.compose and resolve_config give different values")
        times = measure(calls, options.rounds)
    print(f"{count} lines, {len(files)} files, {COMPONENTS} components; ", end="")
    print(f"CPU ms, {options.rounds} rounds")
    ours = times["resolve_config"]
    for key, values in times.items():
        ratio = statistics.median(b / a for a, b in zip(ours, values, strict=True))
        print(f"{key:<22}{statistics.median(values):8.2f} ms {ratio:8.2f} x resolve_config", end="")
        print(f"   (first call {values[0]:.2f} ms)")


def measure(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the CPU milliseconds of each call in each round; who begins changes."""
    times: dict[str, list[float]] = {key: [] for key in calls}
    names = list(calls)
    for turn in range(rounds):
        first = turn % len(names)
        for key in names[first:] + names[:first]:
            times[key].append(cpu_ms(calls[key]))
    return times


if __name__ == "__main__":
    main()
