"""F5: damaged files in a checkpoint."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from benchmarks.faults import runs
from benchmarks.faults.table import Tally

from trainer_core.checkpoint.layout import list_steps
from trainer_core.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from benchmarks.faults.table import Budget, RowResult

TITLE = "damaged: refused, or the state is the right one all the same"
_BLOCK = 4096


def run(budget: Budget) -> RowResult:
    """Damage one thing in a real checkpoint, open it, put it back; over all its files."""
    tally, random = Tally("F5", TITLE, 10_000), budget.random()
    runs.train(runs.small_run(steps=6, every=3, keep=2), budget.folder / "run")
    (_, newer), (_, older) = list_steps(budget.folder / "run" / "checkpoints")
    right = runs.contents_of(newer)
    files = {path: path.read_bytes() for path in sorted(newer.rglob("*")) if path.is_file()}
    kinds = {"detected": 0, "harmless": 0}
    damages = [_flip_bit, _zero_block, _truncate, _append, _swap, _remove, _put_older, _rename]
    for number in range(budget.count(10_000, 200)):
        if not budget.has_time():
            break
        damage = damages[number % len(damages)]
        path = random.choice(list(files))
        damage(path, files, older, random)
        problem = ""
        try:
            if runs.contents_of(newer) == right:
                kinds["harmless"] += 1
            else:
                problem = "it was loaded, and as another state"
        except CheckpointError:
            kinds["detected"] += 1
        tally.add(problem, f"{damage.__name__} of {path.name}")
        _restore(newer, files)
    note = f"{kinds['detected']} refused, {kinds['harmless']} without effect, 0 silent"
    return tally.result(note if not tally.row.failures else "")


def _flip_bit(path: Path, files: dict[Path, bytes], older: Path, random: Random) -> None:
    del older
    data = bytearray(files[path])
    bit = random.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def _zero_block(path: Path, files: dict[Path, bytes], older: Path, random: Random) -> None:
    del older
    data = bytearray(files[path])
    start = random.randrange(len(data))
    end = min(len(data), start + random.choice((1, 64, _BLOCK)))
    data[start:end] = bytes(end - start)
    path.write_bytes(data)


def _truncate(path: Path, files: dict[Path, bytes], older: Path, random: Random) -> None:
    del older
    path.write_bytes(files[path][: random.randrange(len(files[path]))])


def _append(path: Path, files: dict[Path, bytes], older: Path, random: Random) -> None:
    del older
    path.write_bytes(files[path] + random.randbytes(random.randint(1, 100)))


def _swap(path: Path, files: dict[Path, bytes], older: Path, random: Random) -> None:
    del older
    other = random.choice(list(files))
    path.write_bytes(files[other])
    other.write_bytes(files[path])


def _remove(path: Path, files: dict[Path, bytes], older: Path, random: Random) -> None:
    del files, older, random
    path.unlink()


def _put_older(path: Path, files: dict[Path, bytes], older: Path, random: Random) -> None:
    """Leave a file, such as the manifest, of an earlier step."""
    del files, random
    shutil.copyfile(older / path.name, path)


def _rename(path: Path, files: dict[Path, bytes], older: Path, random: Random) -> None:
    del files, older, random
    path.rename(path.with_name(f"{path.name}.old"))


def _restore(folder: Path, files: dict[Path, bytes]) -> None:
    for path in folder.rglob("*"):
        if path not in files and not path.is_dir():
            path.unlink()
    for path, data in files.items():
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
