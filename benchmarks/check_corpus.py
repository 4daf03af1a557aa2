"""How well `trainer check` finds and names single mistakes.

    python -m benchmarks.check_corpus [--all]

Run from the root of the repository. `--all` prints every mistake that was missed, put on another
line, or given another spelling.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.corpus import Corpus, Verdict, peak_memory_mb


def main(*, show_all: bool) -> None:
    """Judge every mistake and print the shares."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Corpus(Path(folder))
        verdicts = [corpus.judge(mistake) for mistake in corpus.mistakes()]
    rejected = [verdict for verdict in verdicts if verdict.problems]
    spelt = [verdict for verdict in rejected if verdict.mistake.wanted]
    print(f"{'kind':<18}{'files':>7}{'right':>8}{'line':>8}{'spelling':>10}")
    for kind in Counter(verdict.mistake.kind for verdict in verdicts):
        _print_row(kind, [v for v in verdicts if v.mistake.kind == kind])
    _print_row("all", verdicts)
    accepted = len(verdicts) - len(rejected)
    print(f"\nrejected {len(rejected)}, accepted {accepted}")
    print(f"rejected or rightly accepted  {_share([v.is_right for v in verdicts])}   goal 100 %")
    print(f"on the mistaken line          {_share([v.on_line for v in rejected])}   goal >= 95 %")
    print(f"first suggestion is right     {_share([v.is_first for v in spelt])}   goal >= 98 %")
    print(f"slowest {max(v.seconds for v in verdicts):.3f} s CPU (goal < 1 s)")
    print(f"peak memory {peak_memory_mb():.0f} MB (goal < 200 MB)")
    if show_all:
        _print_failures(verdicts)


def _print_row(name: str, verdicts: list[Verdict]) -> None:
    rejected = [verdict for verdict in verdicts if verdict.problems]
    spelt = [verdict for verdict in rejected if verdict.mistake.wanted]
    print(
        f"{name:<18}{len(verdicts):>7}{_share([v.is_right for v in verdicts]):>8}"
        f"{_share([v.on_line for v in rejected]):>8}{_share([v.is_first for v in spelt]):>10}"
    )


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


def _share(values: list[bool]) -> str:
    return f"{100 * sum(values) / len(values):.1f} %" if values else "-"


if __name__ == "__main__":
    main(show_all="--all" in sys.argv)
