"""How `trainer eval` tells what it measured: to a reader at a terminal, or through a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from experiments_il.commands.episode_table import episode_grid, episode_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from experiments_il.evaluation.comparison import PairedComparison
    from experiments_il.evaluation.playing import Played

__all__ = ["comparison_lines", "print_comparison", "print_played", "summary_lines"]


def print_played(played: Played) -> None:
    """Print the episodes and what they amount to."""
    if sys.stdout.isatty() and played.episodes:
        from rich.console import Console

        console = Console(highlight=False)
        console.print(episode_grid(played.episodes, console.width))
    else:
        for line in episode_lines(played.episodes):
            print(line)
    for line in summary_lines(played):
        print(line)


def print_comparison(comparison: PairedComparison, names: Sequence[str]) -> None:
    """Print how two policies did on the same episodes."""
    for line in comparison_lines(comparison, names):
        print(line)


def summary_lines(played: Played) -> list[str]:
    """Return success rate, times and place, a line each."""
    result = played.result
    policy = result["policy"]
    lines = [f"{policy['folder']}: step {policy['step']}, {policy['weights']} weights"]
    lines.append(_rate_line(result) or _numbers_line(result))
    if result.get("latency"):
        lines.append(_latency_line(result["latency"], result["sampling"]))
    lines.append(f"results in {played.folder}")
    return lines


def comparison_lines(comparison: PairedComparison, names: Sequence[str]) -> list[str]:
    """Return the counts of pairs, the difference and how sure it is."""
    c = comparison
    low, high = c.ci95
    return [
        f"A {names[0]}",
        f"B {names[1]}",
        (
            f"of {c.n} episodes both solved {c.both}, A alone {c.only_a}, B alone {c.only_b}, "
            f"neither {c.neither}"
        ),
        (
            f"B - A: {100 * c.difference:+.1f} points (95% interval {100 * low:+.1f} to "
            f"{100 * high:+.1f}); McNemar's exact p = {c.p_value:.3g}"
        ),
    ]


def _numbers_line(result: Mapping[str, Any]) -> str:
    """Return what an evaluator measured that counts no successes."""
    numbers = {
        name: value
        for name, value in result.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def _rate_line(result: Mapping[str, Any]) -> str:
    """Return the success rate; nothing of an evaluator that has none."""
    n, rate = result.get("n"), result.get("success_rate")
    if rate is None or n is None:
        return "no episode was played to its end" if n == 0 else ""
    text = f"success rate {rate:.1%} of {n} episodes"
    if result.get("ci95"):
        low, high = result["ci95"]
        text += f" (95% interval {low:.1%} to {high:.1%})"
    if result.get("broken"):
        text += f"; the simulator broke down in {result['broken']}"
    return text


def _latency_line(latency: Mapping[str, float], sampling: Mapping[str, Any]) -> str:
    names = ("p50", "p90", "p99", "max")
    times = ", ".join(f"{name} {latency[f'{name}_ms']:.3g}" for name in names)
    evaluations = sampling.get("evaluations")
    count = "" if evaluations is None else f", {evaluations} evaluations of the network"
    return (
        f"a plan takes {times} ms (batch of {latency['batch_size']:.3g}{count}); "
        f"{latency['chunks_per_s']:.3g} chunks/s"
    )
