"""`trainer run --sweep`: the trials of a grid, one process after the other or side by side."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policy_constructor.config import sort_problems, to_yaml
from policy_constructor.errors import ConfigError
from policy_constructor.source.static import class_attribute, find_attribute
from trainer_core.cli.config_files import problems_of, resolve_for_reading
from trainer_core.cli.sweep_handover import hand_over
from trainer_core.cli.sweep_processes import TrialProcesses
from trainer_core.cli.sweep_table import to_table
from trainer_core.engine.signals import leave_early
from trainer_core.errors import Interrupted, UserError
from trainer_core.experiment.loading import LoadedExperiment, load_experiment
from trainer_core.experiment.sweep import Trial, build_trials, parse_axes
from trainer_core.storage import make_folder, to_json_text, write_atomically

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["run_sweep"]

_FAILED = 1
_INTERRUPTED = 75
_LEFT = frozenset({"interrupted", "pending"})


def run_sweep(options: argparse.Namespace) -> int:
    """Check every trial, run those that are not finished, print and write the results.

    Returns:
        0: all trials are completed; 1: one failed; 75: interrupted, the same command goes on.

    Raises:
        ConfigError: The sweep or a trial has mistakes; nothing was started.
        UserError: A finished trial was run from another configuration.
    """
    resolved, _ = resolve_for_reading(options.config, options.overrides)
    axes = parse_axes(options.sweep, resolved)
    if problems_of(resolved):
        return 2
    trials = build_trials(axes)
    node = resolved.node("run", "out_dir")
    base = node.value if node is not None and isinstance(node.value, str) else None
    out_dir = None if base is None else f"{base}/sweep"
    experiments = _check(options, trials, out_dir)
    if options.dry_run or out_dir is None:
        print(f"{len(trials)} trials are checked; nothing was started")
        print("\n".join(trial.name for trial in trials))
        return 0
    sweep = _Sweep(options, trials, experiments, Path(out_dir))
    sweep.run()
    print(sweep.report(), end="")
    return sweep.exit_code


def _check(
    options: argparse.Namespace, trials: Sequence[Trial], out_dir: str | None
) -> list[LoadedExperiment]:
    """Load the experiment of every trial; all mistakes of all trials are reported at once."""
    experiments = [
        load_experiment(
            options.config,
            [*options.overrides, *trial.overrides(out_dir)],
            strict=False,
            runner=options.runner,
        )
        for trial in trials
    ]
    problems = [problem for experiment in experiments for problem in experiment.problems]
    if problems:
        raise ConfigError(sort_problems(problems))
    return experiments


class _Sweep:
    """The trials of one sweep and what came of them."""

    def __init__(
        self,
        options: argparse.Namespace,
        trials: Sequence[Trial],
        experiments: Sequence[LoadedExperiment],
        folder: Path,
    ) -> None:
        self.options = options
        self.trials = trials
        self.experiments = experiments
        self.folder = folder
        self.file = folder / "sweep.json"
        self.records = [
            _record(trial, experiment)
            for trial, experiment in zip(trials, experiments, strict=True)
        ]
        self.is_interrupted = False

    @property
    def exit_code(self) -> int:
        """75 if trials are left to run, else 1 if one failed, else 0."""
        if self.is_interrupted:
            return _INTERRUPTED
        return _FAILED if any(r["status"] == "failed" for r in self.records) else 0

    def run(self) -> None:
        """Run what is not finished; `sweep.json` is up to date after each trial.

        It is written as soon as a trial is started: a sweep that is refused leaves nothing.
        """
        self._take_over_finished()
        if not (self._can_hand_over() and self._hand_over()):
            self._write()
            self._run_one_by_one()

    def report(self) -> str:
        """Return the table of results, or the document of `sweep.json`."""
        if self.options.json:
            return to_json_text(self._document())
        lines = [to_table(self.records), f"see {self.file}"]
        if self.is_interrupted:
            goes_on = self.options.resume in {None, "auto"}
            command = "the same command" if goes_on else "the same command with --resume auto"
            lines.append(f"the state is saved; {command} goes on")
        return "\n".join(lines) + "\n"

    def _take_over_finished(self) -> None:
        """Mark the trials that an earlier sweep completed from the same configuration."""
        earlier = _read_records(self.file)
        for record in self.records:
            summary = _summary(Path(record["out_dir"]))
            if self.options.resume == "none" or summary.get("status") != "completed":
                continue
            if earlier.get(record["name"], {}).get("digest") != record["digest"]:
                message = (
                    f"{record['out_dir']} holds a finished trial of another configuration; "
                    "set another run.out_dir, remove the folder, or give --resume none"
                )
                raise UserError(message)
            record.update(summary)

    def _run_one_by_one(self) -> None:
        with TrialProcesses(quiet=self.options.json) as processes:
            for trial, record in zip(self.trials, self.records, strict=True):
                if record["status"] == "completed":
                    self._say(f"trial {trial.name}: finished already")
                    continue
                if processes.is_stopped:
                    self.is_interrupted = True
                    break
                self._say(f"trial {trial.name}: {trial.number + 1} of {len(self.trials)}")
                record["exit_code"] = processes.run(self._command(trial))
                record["status"] = processes.status(record["exit_code"])
                if record["status"] != "failed":
                    record.update(_summary(Path(record["out_dir"])), status=record["status"])
                self._write()
                if record["status"] == "interrupted":
                    self.is_interrupted = True
                    break

    def _can_hand_over(self) -> bool:
        """Whether all trials have one runner, and that runs grids itself."""
        first, *others = self.experiments
        if not _can_sweep(first):
            return False
        is_one = all(other.config.runner == first.config.runner for other in others)
        if not is_one:
            self._say("the trials differ in keys of runner: they run one after the other")
        return is_one

    def _hand_over(self) -> bool:
        """Give the trials that are left to a runner that runs grids itself, if it still can."""
        try:
            with leave_early():
                is_handed_over = self._run_side_by_side()
        except Interrupted as error:
            self._say(str(error))
            is_handed_over = True
        if is_handed_over:
            self.is_interrupted = any(record["status"] in _LEFT for record in self.records)
            self._write()
        return is_handed_over

    def _run_side_by_side(self) -> bool:
        from trainer_core.run import build_runner, to_overrides

        resume = to_overrides(self.options.resume)
        trials = {
            number: load_experiment(
                self.options.config,
                [*self.experiments[number].overrides, *resume],
                runner=self.options.runner,
                hooks=True,
            )
            for number, record in enumerate(self.records)
            if record["status"] != "completed"
        }
        if not trials:
            return True
        runner = build_runner(next(iter(trials.values())))
        if not hasattr(runner, "sweep"):  # a hook has chosen another one
            return False
        hand_over(runner, trials, self.records, self._write, quiet=self.options.json)
        return True

    def _command(self, trial: Trial) -> list[str]:
        overrides = self.experiments[trial.number].overrides
        words = ["run", self.options.config, *overrides]
        for option in ("runner", "resume"):
            value = getattr(self.options, option)
            words += [f"--{option}", value] if value is not None else []
        return [sys.executable, "-m", "trainer_core.cli", *words]

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr if self.options.json else sys.stdout, flush=True)

    def _write(self) -> None:
        make_folder(self.folder)
        write_atomically(self.file, to_json_text(self._document()))

    def _document(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "config": self.options.config,
            "overrides": list(self.options.overrides),
            "sweep": list(self.options.sweep),
            "trials": self.records,
        }


def _record(trial: Trial, experiment: LoadedExperiment) -> dict[str, Any]:
    files = [plan.resolved for plan in experiment.models.values()]
    parts = [to_yaml(part, redact_env=True) for part in (experiment.resolved, *files)]
    return {
        "number": trial.number,
        "name": trial.name,
        "out_dir": experiment.config.run.out_dir,
        "values": trial.values,
        "status": "pending",
        "exit_code": None,
        "step": 0,
        "wall_s": 0.0,
        "metrics": {},
        "evaluation": {},
        "digest": hashlib.sha256("\n".join(parts).encode()).hexdigest(),
    }


def _can_sweep(experiment: LoadedExperiment) -> bool:
    """Whether the runner's class has a method `sweep`, read from its source."""
    ref = experiment.plugins.find(experiment.config.runner["_type_"], ("runner",))
    found = find_attribute(ref.module, ref.attr)
    return found is not None and class_attribute(found, "sweep") is not None


def _summary(folder: Path) -> dict[str, Any]:
    """Return what a run wrote about itself; empty if it did not come to that."""
    try:
        found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    keys = ("status", "step", "wall_s", "metrics", "evaluation")
    return {key: found[key] for key in keys if key in found} if isinstance(found, dict) else {}


def _read_records(file: Path) -> dict[str, dict[str, Any]]:
    """Return the records of an earlier sweep by name."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return {record["name"]: record for record in document["trials"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
