"""Mutual information between observations and actions, frame by frame, from nearest neighbours.

Shapes: N frames, Z dimensions of a latent.

Sources: Kraskov, Stoegbauer and Grassberger, "Estimating mutual information", Phys. Rev. E 69,
066138, estimator 1; for demonstrations: Hejna et al., "Robot Data Curation with Mutual Information
Estimators", arXiv:2502.08623.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["EpisodeScore", "ksg_scores", "score_episodes"]

_CLIPPED = (0.01, 0.99)
_ROWS = 1024  # frames whose distances to all others are in memory at once


@dataclass(frozen=True, slots=True)
class EpisodeScore:
    """How much an episode contributes to the mutual information.

    Attributes:
        episode: Its number.
        score: Mean over its frames, in standard deviations of all frames; compare scores of one
            run only.
        n: Its frames.
        standard_error: Of the score.
    """

    episode: int
    score: float
    n: int
    standard_error: float


def ksg_scores(
    first: Tensor,
    second: Tensor,
    neighbours: Sequence[int] = (5, 6, 7),
    groups: Tensor | None = None,
) -> Tensor:
    """Return each frame's contribution to I(first; second) in nats, float64 `(N,)`.

        I_i = mean over k of psi(k) + psi(N) - psi(n_first) - psi(n_second)

    with the numbers of frames, itself included, nearer than the k-th neighbour in the joint space,
    whose distance is the larger of the two. The estimate is too small where information or
    dimension is high.

    Args:
        first: `(N, Z1)`, for example latents of observations.
        second: `(N, Z2)`, for example latents of actions.
        neighbours: Numbers k, each below N.
        groups: Number of each frame's group, int64 `(N,)`: frames of its own group count neither as
            neighbours nor in N. None: all frames do.

    Raises:
        UserError: A frame does not have as many others as it must have neighbours.
    """
    own = torch.arange(len(first), device=first.device) if groups is None else groups
    most = max(neighbours)
    if len(own) - int(own.bincount().max()) < most:
        where = "" if groups is None else " in other episodes"
        message = f"{len(first)} frames have no {most} neighbours{where}; more are needed"
        raise UserError(message)
    parts = [
        _contributions(first, second, neighbours, own, slice(begin, begin + _ROWS))
        for begin in range(0, len(first), _ROWS)
    ]
    return torch.cat(parts)


def score_episodes(
    first: Tensor,
    second: Tensor,
    episodes: Tensor,
    *,
    batch: int = 4096,
    passes: int = 4,
    seed: int = 0,
    neighbours: Sequence[int] = (5, 6, 7),
    weight: float = 1 / 3,
) -> list[EpisodeScore]:
    """Return the score of each episode, best first.

    A frame is compared with those of other episodes only: its own neighbours in time are like it
    whatever the demonstrator does, and would make of the score one of smoothness.

    Information does not change with the scale of either latent, but what few frames resolve of it
    does. Of other episodes, states are far away and actions near; in the joint space, states then
    decide alone who is a neighbour, and differences of actions below that distance are lost. So
    states are scaled: their nearest neighbours are `weight` times as far as those of actions.

    Frames are shuffled anew in each pass and scored within batches; scores are clipped to the
    quantiles 0.01 and 0.99, standardised, and averaged over passes and frames.

    Args:
        first: Latents of observations `(N, Z1)`.
        second: Latents of actions `(N, Z2)`.
        episodes: Number of each frame's episode, int64 `(N,)`.
        batch: About how many frames are compared with one another.
        passes: Shuffles; where all frames are in one batch, one is enough.
        seed: Of the shuffles.
        neighbours: Numbers k of `ksg_scores`.
        weight: Of the states' distances. Smaller: actions tell more finely, states more coarsely.

    Raises:
        UserError: A frame has fewer frames of other episodes than neighbours.
    """
    generator = torch.Generator().manual_seed(seed)
    first = first * (weight * _ratio(first, second, episodes, max(neighbours), generator))
    parts = max(1, len(first) // batch)
    passes = passes if parts > 1 else 1
    total = torch.zeros(len(first), dtype=torch.float64)
    for _ in range(passes):
        order = torch.randperm(len(first), generator=generator)
        for rows in torch.tensor_split(order, parts):
            scores = ksg_scores(first[rows], second[rows], neighbours, episodes[rows])
            total[rows] += scores.cpu()
    frames = _standardise(total / passes)
    found = []
    for episode in sorted(set(episodes.tolist())):
        own = frames[episodes == episode]
        error = float(own.std(correction=0)) / len(own) ** 0.5
        found.append(EpisodeScore(int(episode), float(own.mean()), len(own), error))
    return sorted(found, key=lambda each: -each.score)


def _contributions(
    first: Tensor, second: Tensor, neighbours: Sequence[int], groups: Tensor, rows: slice
) -> Tensor:
    """Return `ksg_scores` of some rows."""
    inside = groups[rows].unsqueeze(1) == groups
    others = (~inside).sum(dim=1)
    distances = [
        _distances(each[rows], each).masked_fill_(inside, torch.inf) for each in (first, second)
    ]
    nearest = torch.maximum(*distances).topk(max(neighbours), dim=1, largest=False).values
    total = torch.zeros(len(inside), dtype=torch.float64, device=first.device)
    for k in neighbours:
        radius = nearest[:, k - 1 : k]
        total += _psi(k) + torch.digamma((others + 1).double())
        for distance in distances:
            total -= torch.digamma(((distance < radius).sum(dim=1) + 1).double())
    return total / len(neighbours)


def _ratio(
    first: Tensor, second: Tensor, groups: Tensor, k: int, generator: torch.Generator
) -> float:
    """Return how much farther second's k-th neighbours of other groups are than first's."""
    rows = torch.randperm(len(first), generator=generator)[:_ROWS]
    inside = groups[rows].unsqueeze(1) == groups
    medians = []
    for points in (first, second):
        distances = _distances(points[rows], points).masked_fill_(inside, torch.inf)
        nearest = distances.topk(min(k, len(points)), dim=1, largest=False).values[:, -1]
        medians.append(float(nearest.median()))
    usable = all(0 < each < torch.inf for each in medians)  # not where most frames are repeated
    return medians[1] / medians[0] if usable else 1.0


def _distances(points: Tensor, others: Tensor) -> Tensor:
    """Return Euclidean distances `(N, M)`, exactly 0 between equal points."""
    return torch.cdist(
        points.double(), others.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )


def _psi(k: int) -> float:
    return float(torch.digamma(torch.tensor(float(k), dtype=torch.float64)))


def _standardise(scores: Tensor) -> Tensor:
    low, high = torch.quantile(scores, torch.tensor(_CLIPPED, dtype=scores.dtype)).tolist()
    clipped = scores.clamp(low, high)
    return (clipped - clipped.mean()) / clipped.std(correction=0).clamp(min=1e-12)
