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


def ksg_scores(first: Tensor, second: Tensor, neighbours: Sequence[int] = (5, 6, 7)) -> Tensor:
    """Return each frame's contribution to I(first; second) in nats, float64 `(N,)`.

        I_i = mean over k of psi(k) + psi(N) - psi(n_first) - psi(n_second)

    with the numbers of frames, itself included, nearer than the k-th neighbour in the joint space,
    whose distance is the larger of the two. The estimate is too small where information or
    dimension is high. Takes memory in proportion to N^2.

    Args:
        first: `(N, Z1)`, for example latents of observations.
        second: `(N, Z2)`, for example latents of actions.
        neighbours: Numbers k, each below N.

    Raises:
        UserError: There are not more frames than neighbours.
    """
    count = len(first)
    if count <= max(neighbours):
        message = f"{count} frames have no {max(neighbours)} neighbours; more are needed"
        raise UserError(message)
    distances = [_distances(first), _distances(second)]
    joint = torch.maximum(*distances).fill_diagonal_(torch.inf)
    nearest = joint.topk(max(neighbours), dim=1, largest=False).values
    total = torch.zeros(count, dtype=torch.float64, device=first.device)
    for k in neighbours:
        radius = nearest[:, k - 1 : k]
        total += _psi(k) + _psi(count)
        for distance in distances:
            # Repeated frames have a radius of 0, in which there is nobody, not even the frame.
            total -= torch.digamma((distance < radius).sum(dim=1).clamp(min=1).double())
    return total / len(neighbours)


def score_episodes(
    first: Tensor,
    second: Tensor,
    episodes: Tensor,
    *,
    batch: int = 1024,
    passes: int = 4,
    seed: int = 0,
    neighbours: Sequence[int] = (5, 6, 7),
) -> list[EpisodeScore]:
    """Return the score of each episode, best first.

    Frames are shuffled anew in each pass and scored within batches; scores are clipped to the
    quantiles 0.01 and 0.99, standardised, and averaged over passes and frames.

    Args:
        first: Latents of observations `(N, Z1)`.
        second: Latents of actions `(N, Z2)`.
        episodes: Number of each frame's episode, int64 `(N,)`.
        batch: About how many frames are compared with one another.
        passes: Shuffles.
        seed: Of the shuffles.
        neighbours: Numbers k of `ksg_scores`.

    Raises:
        UserError: There are fewer frames than neighbours.
    """
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(first), dtype=torch.float64)
    for _ in range(passes):
        order = torch.randperm(len(first), generator=generator)
        for rows in torch.tensor_split(order, max(1, len(first) // batch)):
            total[rows] += ksg_scores(first[rows], second[rows], neighbours).cpu()
    frames = _standardise(total / passes)
    found = []
    for episode in sorted(set(episodes.tolist())):
        own = frames[episodes == episode]
        error = float(own.std(correction=0)) / len(own) ** 0.5
        found.append(EpisodeScore(int(episode), float(own.mean()), len(own), error))
    return sorted(found, key=lambda each: -each.score)


def _distances(points: Tensor) -> Tensor:
    """Return Euclidean distances `(N, N)`, exactly 0 between equal points."""
    double = points.double()
    return torch.cdist(double, double, compute_mode="donot_use_mm_for_euclid_dist")


def _psi(k: int) -> float:
    return float(torch.digamma(torch.tensor(float(k), dtype=torch.float64)))


def _standardise(scores: Tensor) -> Tensor:
    low, high = torch.quantile(scores, torch.tensor(_CLIPPED, dtype=scores.dtype)).tolist()
    clipped = scores.clamp(low, high)
    return (clipped - clipped.mean()) / clipped.std(correction=0).clamp(min=1e-12)
