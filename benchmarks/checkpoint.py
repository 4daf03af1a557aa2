"""Saving, stalling, loading and verifying a large state, beside torch.save, safetensors and DCP.

    python benchmarks/checkpoint.py [MIB] [--rounds N] [--folder FOLDER]

The state is a model with AdamW, MIB in all. All ways take turns in one process, so a busy machine
slows all alike; medians, and ratios round by round. "stall" is the time until training may go on.
Memory is the growth of the process's peak over what it had before, in copies of the state, from
the second save on; that of the first is shown too. Everything written is deleted.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import safetensors.torch
import torch
import torch.distributed as dist
from torch import nn
from torch._C._distributed_c10d import HashStore
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load
from torch.distributed.checkpoint.state_dict_saver import async_save as dcp_async_save
from torch.distributed.checkpoint.state_dict_saver import save as dcp_save

from trainer_core.checkpoint.layout import list_steps, read_manifest, verify_files
from trainer_core.checkpoint.reader import newest_valid, open_checkpoint
from trainer_core.discovery.hooking import start_hooks
from trainer_core.engine.built import Experiment
from trainer_core.engine.hooks import Hooks
from trainer_core.engine.runfolder import RunFolder
from trainer_core.engine.saving import Saver
from trainer_core.engine.state import RunState
from trainer_core.engine.timetable import Timetable
from trainer_core.normalize import Normalizer
from trainer_core.ranks import LocalRanks

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024
WIDTH = 1024


def make_state(mib: int, out_dir: Path) -> RunState:
    """Return a run whose weights and optimizer have a size together."""
    layers = [nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(max(1, mib // 12))]
    models = nn.ModuleDict({"net": nn.Sequential(*layers)})
    optimizer = torch.optim.AdamW(models.parameters(), lr=1e-3)
    for parameter in models.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    experiment = Experiment(
        name="checkpoint",
        seed=0,
        device=torch.device("cpu"),
        models=models,
        optimizers={"default": optimizer},
        schedules={},
        trainer=None,
        dataset=range(100),
        normalizer=Normalizer(),
        global_batch=1,
        total_steps=1_000,
        settings=SimpleNamespace(),
        hooks=Hooks(start_hooks([])[0]),
    )
    return RunState(experiment, out_dir, LocalRanks(), Timetable(), 1_000)


def plain_tensors(state: RunState) -> dict[str, torch.Tensor]:
    """Return all tensors of the state in one flat mapping."""
    tensors = dict(state.models.state_dict())
    values = state.optimizers["default"].state_dict()["state"]
    for number, entry in values.items():
        tensors |= {f"optim.{number}.{name}": tensor for name, tensor in entry.items()}
    return tensors


class Bench:
    """The ways to save one state, each timed until training may go on and until all is written."""

    def __init__(self, folder: Path, mib: int) -> None:
        self.folder = folder
        self.state = make_state(mib, folder / "run")
        self.tensors = plain_tensors(self.state)
        self.size = sum(t.numel() * t.element_size() for t in self.tensors.values())
        self.saver = Saver(self.state, RunFolder(folder / "run"), dict)
        self.waiting = Saver(self.state, RunFolder(folder / "waiting"), dict)
        self.times: dict[str, list[float]] = {}
        self.copies: dict[str, list[float]] = {}

    def time(self, name: str, action: Callable[[], Any]) -> Any:
        """Run an action and note its time."""
        start = time.perf_counter()
        result = action()
        self.times.setdefault(name, []).append(time.perf_counter() - start)
        return result

    def save(self, number: int) -> None:
        """Save in every way once, and delete what was written."""
        target = self.folder / "other"
        target.mkdir()
        self.state.step = number
        self.time("ours, waiting: save", self.waiting.save)
        with self.memory("ours"):
            began = time.perf_counter()
            self.time("ours, async: stall", lambda: self.saver.save_if_possible(wait=False))
            self.saver.finish()
            self.note("ours, async: until written", began)
        with self.memory("dcp.async_save"):
            began = time.perf_counter()
            future = self.time(
                "dcp.async_save: stall",
                lambda: dcp_async_save(self.tensors, checkpoint_id=target / "async"),
            )
            cast("Any", future).result()
            self.note("dcp.async_save: until written", began)
        self.time("dcp.save", lambda: dcp_save(self.tensors, checkpoint_id=target / "dcp"))
        self.time("torch.save", lambda: torch.save(self.tensors, target / "state.pt"))
        self.time(
            "safetensors save_file",
            lambda: safetensors.torch.save_file(self.tensors, target / "state.safetensors"),
        )
        self.read(target, number)
        shutil.rmtree(target)
        for root in (self.folder / "run", self.folder / "waiting"):
            for step, path in list_steps(root / "checkpoints"):
                if step < number:
                    shutil.rmtree(path)

    def read(self, target: Path, number: int) -> None:
        """Load what was saved in every way."""
        checkpoint = self.folder / "run" / "checkpoints" / f"step-{number:09d}"
        manifest = read_manifest(checkpoint)
        self.time("ours: verify", lambda: verify_files(checkpoint, manifest))
        opened = open_checkpoint(checkpoint)
        names = opened.names("model.") + opened.names("optim.")
        self.time("ours: load", lambda: [_touch(opened.read_tensors(name)) for name in names])
        self.time("torch.load", lambda: torch.load(target / "state.pt", weights_only=True))
        file = target / "state.safetensors"
        self.time("safetensors load_file", lambda: _touch(safetensors.torch.load_file(file)))
        into = {name: torch.empty_like(tensor) for name, tensor in self.tensors.items()}
        self.time("dcp.load", lambda: dcp_load(into, checkpoint_id=target / "dcp"))
        data = file.read_bytes()
        self.time("sha256 alone", lambda: hashlib.sha256(data).digest())

    def note(self, name: str, began: float) -> None:
        """Note the time since then."""
        self.times.setdefault(name, []).append(time.perf_counter() - began)

    def memory(self, name: str) -> _Peak:
        """Return a context that notes the growth of the peak, in copies of the state."""
        return _Peak(self.copies.setdefault(name, []), self.size)

    def recover(self) -> tuple[float, float]:
        """Return the seconds to find the checkpoint before a corrupt one, and to hash both."""
        for step in (901, 902):
            self.state.step = step
            self.waiting.save()
        root = self.folder / "waiting" / "checkpoints"
        folders = [path for step, path in list_steps(root) if step > 900]
        began = time.perf_counter()
        for path in folders:
            verify_files(path, read_manifest(path))
        hashing = time.perf_counter() - began
        victim = root / "step-000000902" / "optim.default.safetensors"
        with victim.open("r+b") as file:
            file.seek(-1, 2)
            last = file.read(1)[0]
            file.seek(-1, 2)
            file.write(bytes([last ^ 1]))
        began = time.perf_counter()
        found = newest_valid(root)
        seconds = time.perf_counter() - began
        if found is None or found.step != 901:
            msg = "the checkpoint before the corrupt one was not found"
            raise RuntimeError(msg)
        return seconds, hashing


class _Peak:
    """Notes by how much the process's peak memory grows inside the context."""

    def __init__(self, notes: list[float], unit: int) -> None:
        self.notes, self.unit, self.before = notes, unit, 0

    def __enter__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self.before = _memory("VmRSS")

    def __exit__(self, *_: object) -> None:
        self.notes.append((_memory("VmHWM") - self.before) / self.unit)


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _touch(tensors: dict[str, torch.Tensor]) -> float:
    return sum(float(tensor.reshape(-1)[::1024].sum()) for tensor in tensors.values())


def main() -> None:
    """Print the table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mib", nargs="?", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="checkpoint-", dir=options.folder))
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        bench = Bench(folder, options.mib)
        for number in range(1, options.rounds + 2):  # the first allocates and warms up
            bench.save(number)
        _report(bench)
    finally:
        dist.destroy_process_group()
        shutil.rmtree(folder)


def _report(bench: Bench) -> None:
    print(f"{bench.size / MIB:.0f} MiB, medians of {len(bench.times['torch.save']) - 1} rounds")
    for name, times in bench.times.items():
        print(f"{name:32}{statistics.median(times[1:]):8.3f} s   (first {times[0]:.3f})")
    stalls = bench.times["ours, async: stall"][1:]
    for other, target in (("ours, waiting: save", 0.25), ("dcp.async_save: stall", 0.5)):
        ratios = [a / b for a, b in zip(stalls, bench.times[other][1:], strict=True)]
        print(f"stall / {other}: {statistics.median(ratios):.2f} (target at most {target})")
    for name, copies in bench.copies.items():
        later = max(copies[1:], default=0.0)
        print(f"memory of {name}: first {copies[0]:.2f} copies, later {later:.2f} more")
    seconds, hashing = bench.recover()
    print(
        f"newest corrupt, the one before found in {seconds:.2f} s; hashing both takes "
        f"{hashing:.2f} s: {max(0.0, seconds - hashing):.2f} s beyond (target at most 2)"
    )


if __name__ == "__main__":
    main()
