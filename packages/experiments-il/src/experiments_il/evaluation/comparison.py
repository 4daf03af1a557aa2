"""Two policies on the same episodes: which one is better, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["PairedComparison", "compare_episodes"]

_Z_95 = 1.959963984540054


@dataclass(frozen=True)
class PairedComparison:
    """Successes of two policies, A and B, episode by episode.

    Attributes:
        both: Episodes that both solved.
        only_a: Those that A alone solved.
        only_b: Those that B alone solved.
        neither: Those that neither solved.
    """

    both: int
    only_a: int
    only_b: int
    neither: int

    @property
    def n(self) -> int:
        """Episodes that both played."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def difference(self) -> float:
        """Success rate of B minus that of A."""
        return (self.only_b - self.only_a) / self.n

    @property
    def ci95(self) -> tuple[float, float]:
        """Interval of the difference.

        Source: Bonett and Price, "Adjusted Wald confidence interval for a difference of binomial
        proportions based on paired data", J. Educ. Behav. Stat. 37 (2012), 479-488.
        """
        a, b = (self.only_a + 1) / (self.n + 2), (self.only_b + 1) / (self.n + 2)
        half = _Z_95 * math.sqrt((a + b - (b - a) ** 2) / (self.n + 2))
        return max(-1.0, b - a - half), min(1.0, b - a + half)

    @property
    def p_value(self) -> float:
        """Probability of so uneven a split if neither is better: McNemar's test, exact.

        Source: McNemar, Psychometrika 12 (1947), 153-157, with the binomial distribution.
        """
        discordant = self.only_a + self.only_b
        tail = sum(math.comb(discordant, k) for k in range(min(self.only_a, self.only_b) + 1))
        return min(1.0, 2.0 * tail / float(2**discordant))

    def to_json(self) -> dict[str, Any]:
        """Return counts and what follows from them."""
        return {
            "n": self.n,
            "both": self.both,
            "only_a": self.only_a,
            "only_b": self.only_b,
            "neither": self.neither,
            "difference": self.difference,
            "ci95": list(self.ci95),
            "p_value": self.p_value,
        }


def compare_episodes(
    first: Iterable[Mapping[str, Any]], second: Iterable[Mapping[str, Any]]
) -> PairedComparison | None:
    """Compare the episodes that both played; None if there is none.

    Args:
        first: Lines of A's `episodes.jsonl`, with `episode` and `success`.
        second: Lines of B's.
    """
    of_a, of_b = _successes(first), _successes(second)
    pairs = [(of_a[number], of_b[number]) for number in of_a if number in of_b]
    if not pairs:
        return None
    return PairedComparison(
        both=pairs.count((True, True)),
        only_a=pairs.count((True, False)),
        only_b=pairs.count((False, True)),
        neither=pairs.count((False, False)),
    )


def _successes(episodes: Iterable[Mapping[str, Any]]) -> dict[Any, bool]:
    """Return whether each episode was solved; those in which the simulator broke down are none."""
    return {
        row["episode"]: bool(row["success"])
        for row in episodes
        if "episode" in row and "success" in row and not row.get("error")
    }
