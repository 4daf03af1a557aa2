"""What `trainer eval` does between its command line and its report."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from experiments_il.evaluation.comparison import compare_episodes
from experiments_il.evaluation.plan import plan_evaluation
from experiments_il.evaluation.playing import choose_folder, play
from experiments_il.loading import find_policy, open_policy
from policy_constructor.errors import Problem
from trainer_core.engine.hardware import resolve_device
from trainer_core.engine.progress import QuietProgress
from trainer_core.engine.signals import catch_interrupts
from trainer_core.engine.trained import restricted_plugins
from trainer_core.errors import UserError
from trainer_core.instantiate import instantiate
from trainer_core.storage import make_folder, to_json_text, write_atomically

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from experiments_il.evaluation.comparison import PairedComparison
    from experiments_il.evaluation.plan import EvaluationPlan
    from experiments_il.evaluation.playing import Played
    from experiments_il.loading import PolicySource

__all__ = ["evaluate_all"]


def evaluate_all(options: argparse.Namespace) -> tuple[list[Played], PairedComparison | None]:
    """Play every policy that was named; with two, also compare them.

    Returns:
        The evaluations, fewer than policies if it was interrupted; and the comparison, if both
        wrote episodes.

    Raises:
        TrainerError: A policy, an evaluator or a parameter is not there or does not fit.
    """
    device = resolve_device(options.device, local_rank=0, problem=_device_problem)
    jobs = [_prepare(path, options) for path in options.policies]
    if len(jobs) > 1:
        _require_same_episodes(*(plan.evaluator for _, plan, _ in jobs))
    played: list[Played] = []
    with catch_interrupts(lambda: None) as flag:
        for number, (source, plan, evaluator) in enumerate(jobs):
            _use_threads(source)
            loaded = open_policy(source, device, plan.parameters)
            folder = choose_folder(source, plan.label, _own_folder(options, number))
            name = plan.label if len(jobs) == 1 else f"{plan.label} {'AB'[number]}"
            with _display(name) as progress:
                played.append(
                    play(
                        loaded,
                        plan,
                        evaluator,
                        folder,
                        device=device,
                        progress=progress,
                        interrupted=lambda: bool(flag),
                    )
                )
            if flag:
                break
    comparison = None
    if len(played) == 2:
        comparison = compare_episodes(played[0].episodes, played[1].episodes)
    if comparison is not None and options.out is not None:
        write_atomically(options.out / "comparison.json", to_json_text(comparison.to_json()))
    return played, comparison


def _device_problem(place: object, message: str) -> Problem:
    del place  # it is the file's; here an option says it
    return Problem(f"--device: {message}", code="invalid")


def _prepare(path: str, options: argparse.Namespace) -> tuple[PolicySource, EvaluationPlan, Any]:
    """Find a policy and build its evaluator: what is wrong shows before anything is loaded."""
    source = find_policy(path, options.checkpoint)
    plugins = restricted_plugins(source.config)
    plan = plan_evaluation(source.config, options.env, options.changes, plugins)
    return source, plan, instantiate(plan.evaluator, plugins, kind="eval")


def _require_same_episodes(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Refuse to compare policies on other episodes; how they see them may differ."""
    for key in ("_type_", "task", "seed", "episodes", "max_steps"):
        if first.get(key) != second.get(key):
            message = (
                f"the two policies are not evaluated alike: {key} is {first.get(key)!r} and "
                f"{second.get(key)!r}; say it for both with --env or {key}=..."
            )
            raise UserError(message)


def _own_folder(options: argparse.Namespace, number: int) -> Path | None:
    """Return the folder of a policy: of two, `a` or `b` in the one that was named."""
    if options.out is None or len(options.policies) == 1:
        out: Path | None = options.out
        return out
    make_folder(options.out)
    named: Path = options.out / "ab"[number]
    return named


def _use_threads(source: PolicySource) -> None:
    """Use as many threads as the experiment asks for: small models are slower with more."""
    threads = (source.config.get("run") or {}).get("threads")
    if isinstance(threads, int) and threads > 0:
        torch.set_num_threads(threads)


@contextmanager
def _display(name: str) -> Iterator[Callable[[int, int, str], None]]:
    """Yield what shows how far an evaluation is: a bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        quiet = QuietProgress(sys.stderr)
        yield lambda done, total, text: quiet.track(done, total, text, name)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, Remaining(), console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("starting", total=None)
        yield lambda done, total, text: bar.update(
            row, completed=done, total=total, description=text
        )
