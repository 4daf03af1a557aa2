"""F19: a run that saves 500 times."""

from __future__ import annotations

import gc
import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.faults import runs
from benchmarks.faults.forks import run_forked
from benchmarks.faults.table import Tally

from trainer_core.engine.build import build_experiment
from trainer_core.engine.loop import fit
from trainer_core.experiment.loading import load_experiment
from trainer_core.hookspecs import hookimpl
from trainer_core.ranks import LocalRanks

if TYPE_CHECKING:
    from benchmarks.faults.table import Budget, RowResult

TITLE = "many saves: memory, threads, descriptors and litter stay"
SAVES = 500
WARM = 50
GROWTH = 0.02
_STEPS = 5
_LATE = 2  # what a library may open late; what leaks does so at every save


def run(budget: Budget) -> RowResult:
    """Save after each step, written beside the training; compare step 50 with the end."""
    tally = Tally("F19", TITLE, SAVES)
    saves = budget.count(SAVES, 2 * WARM)
    out_dir, log = budget.folder / "run", budget.folder / "log.txt"
    code = run_forked(lambda: _soak(out_dir, saves, budget.folder / "seen.json"), log, 600)
    if code:
        tally.add(f"it ended with {code}: {log.read_text()[-300:]}", "the run")
        return tally.result()
    first, last = json.loads((budget.folder / "seen.json").read_text())
    growth = last["rss"] / first["rss"] - 1
    # Some pages of the interpreter are only touched in time; 100 saves are too few to tell.
    allowed = GROWTH if saves == SAVES else 2 * GROWTH
    problems = [f"memory grew by {growth:.1%}"] if growth > allowed else []
    problems += [
        f"{name} went from {first[name]} to {last[name]}"
        for name in ("threads", "descriptors")
        if last[name] > first[name] + _LATE
    ]
    if litter := [path.name for path in (out_dir / "checkpoints").glob(".*")]:
        problems.append(f"left {litter}")
    for _ in range(saves - 1):
        tally.add("", "a save")
    tally.add("; ".join(problems), f"{saves} saves")
    note = f"memory {growth:+.2%}, {last['threads']} threads, {last['descriptors']} descriptors"
    return tally.result(note)


def _soak(out_dir: Path, saves: int, file: Path) -> None:
    config: dict[str, Any] = runs.small_run(steps=saves, keep=3)
    config["run"] = {**config["run"], "out_dir": str(out_dir)}
    experiment = build_experiment(load_experiment(config), LocalRanks())
    seen: dict[int, list[dict[str, int]]] = {WARM: [], saves: []}

    class Watch:
        @hookimpl
        def trainer_step_end(self, state: Any) -> None:
            for end, measured in seen.items():
                if end - _STEPS < state.step <= end:
                    measured.append(_measure())

    experiment.hooks._manager.register(Watch())  # noqa: SLF001 - a listener that no wheel brings
    fit(experiment, out_dir)
    # A file that is being written beside a step is no leak: the least of some steps counts.
    least = [{key: min(each[key] for each in some) for key in some[0]} for some in seen.values()]
    file.write_text(json.dumps(least))


def _measure() -> dict[str, int]:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "rss": pages * os.sysconf("SC_PAGE_SIZE"),
        "threads": threading.active_count(),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
    }
