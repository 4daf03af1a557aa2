"""How sure a success rate is."""

from __future__ import annotations

import math

__all__ = ["wilson_interval"]

_Z_95 = 1.959963984540054


def wilson_interval(successes: int, n: int, z: float = _Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of a success rate.

    Unlike the normal approximation it stays inside [0, 1] and says something at 0 and n successes:
    50 of 50 gives 0.929 to 1.

    Args:
        successes: Between 0 and n.
        n: Independent trials, at least 1.
        z: Quantile of the normal distribution; 1.96 for 95 %.

    Raises:
        ValueError: The counts are impossible.

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927), 209-212.
    """
    if not 0 <= successes <= n or n < 1:
        message = f"expected 0 <= successes <= n and n >= 1, got {successes} of {n}"
        raise ValueError(message)
    rate = successes / n
    scale = 1 + z * z / n
    center = (rate + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return max(0.0, center - half), min(1.0, center + half)
