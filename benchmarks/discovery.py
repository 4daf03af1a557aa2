"""Time of one scan for components against `importlib.metadata.entry_points`, side by side.

Both read the same generated folders of 50, 200 and 1000 distributions, a quarter of which have
entry points and four of which are plugins. Run with `python benchmarks/discovery.py`.
"""

from __future__ import annotations

import importlib.metadata
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from policy_constructor.discovery.metadata import scan
from policy_constructor.signatures import signature
from policy_constructor.source import module_source

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZES = (50, 200, 1000)
_ROUNDS = 15
_TARGETS = ("torch.nn:Linear", "torch.nn:Conv2d", "torch.nn:LSTM", "torch.optim:AdamW")


def main() -> None:
    """Print the medians and their ratio for each size, then the time to read a signature."""
    print(f"{'distributions':>13} {'scan ms':>9} {'importlib ms':>13} {'ratio':>7}")
    for size in _SIZES:
        with tempfile.TemporaryDirectory() as folder:
            _write_distributions(Path(folder), size)
            ours, theirs = _interleaved(lambda: scan([folder]), lambda: _through_api(folder))
        print(f"{size:>13} {ours:>9.2f} {theirs:>13.2f} {ours / theirs:>7.2f}")
    for target in _TARGETS:
        print(f"signature of {target}, nothing read before: {_cold_signature_ms(target):.1f} ms")


def _write_distributions(folder: Path, size: int) -> None:
    for number in range(size):
        info = folder / f"package{number}-1.{number}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: package{number}\nVersion: 1.{number}\n")
        if number < 4:
            text = "\n".join(f"key{number}_{i} = package{number}:X{i}" for i in range(5))
            (info / "entry_points.txt").write_text(f"[trainer_core.losses]\n{text}\n")
        elif number % 4 == 0:
            (info / "entry_points.txt").write_text("[console_scripts]\ntool = package:main\n")


def _through_api(folder: str) -> list[str]:
    """Do the same with the standard library, name and version of the distribution included."""
    return [
        f"{distribution.name} {distribution.version} {entry.value}"
        for distribution in importlib.metadata.distributions(path=[folder])
        for entry in distribution.entry_points
        if entry.group.startswith("trainer_core.")
    ]


def _interleaved(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Return the median milliseconds of two calls that take turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for call, collected in zip((first, second), times, strict=True):
            start = time.perf_counter()
            call()
            collected.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times[0]), statistics.median(times[1])


def _cold_signature_ms(target: str) -> float:
    """Return the milliseconds of a first look at a component, with no source file parsed yet."""
    for cached in (module_source._read_version, signature._read):  # noqa: SLF001 - to be cold
        cached.cache_clear()
    start = time.perf_counter()
    signature.read_signature(target)
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    main()
