"""How well `trainer check` finds and names single mistakes.

    python -m benchmarks.check_corpus [--all] [--damaged N]

Run from the root of the repository. `--all` prints every mistake that was missed, put on another
line, or given another spelling; `--damaged N` checks N randomly damaged files as well (10000 is the
long form). The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.corpus import Corpus, Verdict, peak_memory_mb

LONGEST_S = 1.0
MOST_MB = 200.0


def main(*, show_all: bool, damaged: int) -> int:
    """Judge every mistake, print the shares and compare them with the goals."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Corpus(Path(folder))
        verdicts = [corpus.judge(mistake) for mistake in corpus.mistakes()]
        damages = [corpus.damage(seed) for seed in range(damaged)]
    print(f"{'kind':<18}{'files':>7}{'right':>8}{'line':>8}{'spelling':>10}")
    for kind in Counter(verdict.mistake.kind for verdict in verdicts):
        _print_row(kind, [v for v in verdicts if v.mistake.kind == kind])
    _print_row("all", verdicts)
    rejected = [verdict for verdict in verdicts if verdict.problems]
    spelt = [verdict for verdict in rejected if verdict.mistake.wanted]
    print(f"\nrejected {len(rejected)}, rightly accepted {len(verdicts) - len(rejected)}")
    slowest = max([*(v.seconds for v in verdicts), *(d.seconds for d in damages)])
    memory = peak_memory_mb()
    shares = {
        "rejected or rightly accepted": (_share([v.is_right for v in verdicts]), 100.0),
        "on the mistaken line": (_share([v.on_line for v in rejected]), 95.0),
        "first suggestion is right": (_share([v.is_first for v in spelt]), 98.0),
    }
    for name, (share, goal) in shares.items():
        print(f"{name:<30}{share:6.1f} %   goal >= {goal:g} %")
    refused = sum(damage.problems > 0 for damage in damages)
    errors = [damage for damage in damages if damage.error]
    print(f"randomly damaged files: {len(damages)}, rejected {refused}, exceptions {len(errors)}")
    for damage in errors[:10]:
        print(f"  seed {damage.seed}: {damage.error[:200]}")
    print(f"slowest {slowest:.3f} s CPU (goal < {LONGEST_S:g} s)")
    print(f"peak memory {memory:.0f} MB (goal < {MOST_MB:g} MB)")
    if show_all:
        _print_failures(verdicts)
    missed = any(share < goal for share, goal in shares.values())
    return int(bool(missed or errors) or slowest >= LONGEST_S or memory >= MOST_MB)


def _print_row(name: str, verdicts: list[Verdict]) -> None:
    rejected = [verdict for verdict in verdicts if verdict.problems]
    spelt = [verdict for verdict in rejected if verdict.mistake.wanted]
    shares = [
        f"{_share(values):.1f} %" if values else "-"
        for values in (
            [v.is_right for v in verdicts],
            [v.on_line for v in rejected],
            [v.is_first for v in spelt],
        )
    ]
    print(f"{name:<18}{len(verdicts):>7}{shares[0]:>8}{shares[1]:>8}{shares[2]:>10}")


def _print_failures(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        mistake = verdict.mistake
        wrong = [
            word
            for word, is_wrong in (
                ("ACCEPTED", not verdict.is_right),
                ("LINE", bool(verdict.problems) and not verdict.on_line),
                ("SPELLING", bool(verdict.problems and mistake.wanted) and not verdict.is_first),
            )
            if is_wrong
        ]
        if wrong:
            print(f"\n{' '.join(wrong)}: {mistake.kind} {mistake.file} {mistake.key}")
            print(f"  mistaken line {sorted(mistake.lines)}, wanted {mistake.wanted!r}")
            for problem in verdict.problems[:4]:
                print(f"  {problem.location}: {problem.message} {problem.suggestions}")


def _share(values: list[bool]) -> float:
    return 100 * sum(values) / len(values) if values else 100.0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--damaged", type=int, default=0)
    options = parser.parse_args()
    sys.exit(main(show_all=options.all, damaged=options.damaged))
