"""What keeps the gate of a mixture of experts useful: balance, and logits of bounded size.

Shapes: B batch, E experts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from trainer_core.errors import UserError

if TYPE_CHECKING:
    from policy_constructor.ranges import NonNegative

__all__ = [
    "MoEGating",
    "MoEGatingLoss",
    "load_balance_loss",
    "router_z_loss",
    "routing",
    "routing_information_loss",
]


def routing(logits: Tensor) -> Tensor:
    """Return the one-hot choice of each sample, float32 `(B, E)`, without a gradient."""
    chosen = logits.detach().argmax(dim=-1)
    return nn.functional.one_hot(chosen, logits.shape[-1]).float()


def load_balance_loss(logits: Tensor, fractions: Tensor | None = None) -> Tensor:
    """Return `E sum_e f_e P_e`, a scalar: 1 for uniform routing, E when one expert has all.

    f_e is the fraction of samples that go to expert e and P_e its mean probability. With the
    fractions of the whole global batch, the mean over parts of it is the loss of the whole.

    Args:
        logits: `(B, E)`.
        fractions: f, `(E,)`; None: of these samples.

    Source: Fedus et al., "Switch Transformers", arXiv:2101.03961, equation 4.
    """
    logits = logits.float()
    if fractions is None:
        fractions = routing(logits).mean(dim=0)
    probabilities = torch.softmax(logits, dim=-1).mean(dim=0)
    return logits.shape[-1] * (fractions.detach() * probabilities).sum()


def routing_information_loss(shares: Tensor, means: Tensor | None = None) -> Tensor:
    """Return minus the information that the choice of an expert has about the sample, a scalar.

    `mean H(g_b) - H(mean g_b)`, from `-log E` (each sample sure of its expert, all experts used
    alike) to 0. The border between two experts moves to where there are few samples. With the means
    of the whole global batch, the gradient of the mean over parts of it is that of the whole.

    Args:
        shares: Probabilities g `(B, E)`.
        means: Of the whole batch, `(E,)`; None: of these samples.

    Source: Bridle et al., "Unsupervised Classifiers, Mutual Information and 'Phantom Targets'",
    1991.
    """
    shares = shares.float()
    if means is None:
        means = shares.mean(dim=0)
    of_sample = (shares * shares.clamp(min=1e-9).log()).sum(dim=-1)
    of_batch = (shares * means.detach().clamp(min=1e-9).log()).sum(dim=-1)
    return (of_batch - of_sample).mean()


def router_z_loss(logits: Tensor) -> Tensor:
    """Return the mean over samples of `logsumexp(logits)^2`, a scalar.

    Source: Zoph et al., "ST-MoE", arXiv:2202.08906, equation 5.
    """
    return torch.logsumexp(logits.float(), dim=-1).square().mean()


class MoEGating(nn.Module):
    """Weighted sum of the two losses of a gate; see `MoEGatingLoss`."""

    def __init__(self, load_balance_weight: float = 1e-2, z_weight: float = 1e-3) -> None:
        super().__init__()
        self.load_balance_weight = load_balance_weight
        self.z_weight = z_weight

    def forward(self, logits: Tensor, choices: Tensor | None = None) -> Tensor:
        """Return the scalar loss, in float32 whatever the autocast.

        Args:
            logits: `(B, E)`.
            choices: `(B, E)` one-hot choices, or their fractions `(E,)`; None: the largest logits.
        """
        fractions = choices if choices is None or choices.ndim == 1 else choices.mean(dim=0)
        balance = load_balance_loss(logits, fractions)
        return self.load_balance_weight * balance + self.z_weight * router_z_loss(logits)


class MoEGatingLoss:
    """Factory of the losses of a mixture's gate, `loss.moe_gating`.

    Args:
        load_balance_weight: Weight of the load balance. Too small: one expert takes all samples;
            too large: the experts cannot specialise. 1e-2 usually.
        z_weight: Weight of the squared log-sum of the logits, which keeps them small. 1e-3 usually.

    Raises:
        UserError: A weight is negative.
    """

    def __init__(
        self, load_balance_weight: NonNegative = 1e-2, z_weight: NonNegative = 1e-3
    ) -> None:
        for name, value in (("load_balance_weight", load_balance_weight), ("z_weight", z_weight)):
            if value < 0:
                message = f"{name} must be at least 0, got {value:g}"
                raise UserError(message)
        self.loss = MoEGating(load_balance_weight, z_weight)

    def build(self) -> nn.Module:
        """Return the loss module, called as `loss(logits, choices)`."""
        return self.loss
