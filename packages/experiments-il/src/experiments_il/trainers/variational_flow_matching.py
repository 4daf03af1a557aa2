"""VFP: flow matching with a latent that chooses the mode, and a mixture of experts that has them.

Source: Zhai et al., "VFP: Variational Flow-Matching Policy for Multi-Modal Robot Manipulation",
arXiv:2508.01622; the equations here are our reading of its structure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch

from experiments_il.flow import endpoint, sample_time, velocity_target
from experiments_il.gating import (
    load_balance_loss,
    router_z_loss,
    routing,
    routing_information_loss,
)
from experiments_il.losses import known_target
from experiments_il.sample_losses import tell_errors
from experiments_il.trainers.chunk_policy import ACTION_DECODER, ChunkPolicyTrainer, require
from experiments_il.trainers.whole_batch import (
    check_group,
    mean_over_actions,
    mean_real_actions,
    transport_loss,
    transport_states,
)
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from experiments_il.flow import VelocityField
    from experiments_il.policy import Condition
    from policy_constructor.ranges import NonNegative
    from trainer_core.protocols import Batch, StepContext
    from trainer_core.step import StepOptions

__all__ = ["VariationalFlowMatchingPolicyTrainer"]

TransportExpert: TypeAlias = Literal["mixture", "best"]
"""Whose endpoint the transport loss moves: the gate's mixture, or its first choice."""

_ROLES = {
    "posterior": "memory and chunk to a normal distribution",
    "prior": "memory to a latent",
    "gate": "memory and latent to logits over experts",
    "latent_embedder": "latent to a memory token",
}
_WHOLE_BATCH = ("load_balance_weight", "gate_information_weight")
_AGREEMENT_EVERY = 20  # steps: sampling the prior costs a fifth of a small step
_ACTIVE_KL = 0.01


class VariationalFlowMatchingPolicyTrainer(ChunkPolicyTrainer):
    """Trains a variational flow-matching policy with a mixture of experts.

        q = posterior(memory, a);   z = mu_q + sigma_q n;   g = softmax(gate(memory, z))
        L_moe = mean over real actions of sum_e g_e (v_e(x_t, t, [memory, z]) - u)^2
        total = L_moe + beta KL(q || reference) + L_prior + transport_weight L_OT
                + load_balance_weight L_lb + gate_information_weight L_mi + gate_z_weight L_z

    Acting samples z from the prior and follows the gate's first choice alone.

    Components of `models:`: those of `naive_flow_matching_policy_trainer`, with an
    `action_decoder` of several experts (`mlp_expert_decoder`, `transformer_expert_decoder`), and
    `posterior`, `prior`, `gate`, `latent_embedder`. The `loss:` section is L_OT, such as
    `sinkhorn_knopp`, or is left out. The memory of the decoder has one token more.

    Every term is a mean over samples of the global batch, also with micro-batches or several
    processes. Some depend on who shares a batch: L_OT is computed on groups of fixed size, which
    must divide a micro-batch; L_lb and L_mi need the choices of the whole batch, and with
    micro-batches `load_balance_weight` and `gate_information_weight` must be 0.

    Args:
        models: The components.
        optimizers: The optimizers by name.
        loss: The transport loss, or None.
        device: Where the components are.
        beta: Weight of the divergence, which is summed over the latent. Larger: the latent says
            less. 0.01 with a learned prior, 0.1 with `standard_prior`.
        transport_weight: Weight of the loss of the `loss:` section.
        transport_expert: Whose endpoint it moves: `mixture`, or `best`.
        load_balance_weight: Weight of the experts' load balance. Larger: more equal use.
        gate_information_weight: Weight of what the gate's choice tells about a sample: each sure of
            its expert, all experts used. 0 leaves it to chance whether experts specialise.
        gate_z_weight: Weight of the squared log-sum of the gate's logits.
        prior_trains_encoders: Whether the prior's loss reaches the encoders of the observation.
        settings: What `ChunkPolicyTrainer` takes.

    Raises:
        UserError: A component is missing or does not fit, or a value is out of its range.
    """

    def __init__(
        self,
        models: nn.ModuleDict,
        optimizers: Mapping[str, torch.optim.Optimizer],
        loss: nn.Module | None,
        device: torch.device | str,
        *,
        beta: NonNegative = 0.01,
        transport_weight: NonNegative = 0.2,
        transport_expert: TransportExpert = "mixture",
        load_balance_weight: NonNegative = 1e-2,
        gate_information_weight: NonNegative = 0.5,
        gate_z_weight: NonNegative = 1e-3,
        prior_trains_encoders: bool = False,
        **settings: Any,
    ) -> None:
        self.transport = transport_loss(loss)
        self.load_balance_weight = load_balance_weight
        self.gate_information_weight = gate_information_weight
        super().__init__(models, optimizers, loss, device, **settings)
        for name, role in _ROLES.items():
            require(models, name, role)
        if not hasattr(self.decoder, "experts"):
            message = (
                f"models.{ACTION_DECODER} ({type(self.decoder).__name__}) has one expert; use "
                "mlp_expert_decoder or transformer_expert_decoder"
            )
            raise UserError(message)
        self.beta = beta
        self.transport_weight = transport_weight
        self.transport_expert = transport_expert
        self.gate_z_weight = gate_z_weight
        self.prior_trains_encoders = prior_trains_encoders
        self.latent_dim: int = models["posterior"].latent_dim  # type: ignore[assignment] # a module's attributes are untyped
        draws: int | None = getattr(models["prior"], "draws", None)
        self.draws = () if draws is None else (draws,)
        self._real_actions: Tensor | None = None

    def configure(self, options: StepOptions) -> None:
        """Take the engine's decisions.

        Raises:
            UserError: A term needs the whole batch and does not get it.
        """
        super().configure(options)
        check_group(self.transport, options)
        needy = [name for name in _WHOLE_BATCH if getattr(self, name)]
        if options.grad_accum_steps > 1 and needy:
            names = " and ".join(f"trainer.{name}" for name in needy)
            message = (
                f"the gate's use of the experts is known for a whole batch only: set {names} to 0, "
                "or trainer.grad_accum_steps to 1"
            )
            raise UserError(message)

    def compute_losses(
        self, batch: Batch, step: StepContext
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Return the sum of the terms, and each of them."""
        data, mask = self.chunks(batch), self.mask(batch)
        memory = self.encode(batch, step)
        posterior = self.models["posterior"](memory, data, mask)
        z = posterior.sample(step.random.normal(self.latent_dim, stream="latent.noise"))
        logits = self.models["gate"](memory, z)
        share = torch.softmax(logits.float(), dim=-1)
        x_t, noise, t = self.draw(data, step)
        cache = self.decoder.cache(self._with_latent(memory, z))
        velocities = self.decoder.step(x_t, t, cache)
        errors = self._mixture_errors(velocities, share, velocity_target(noise, data), mask)
        mixture = mean_over_actions(errors, self._real_actions)
        tell_errors(step, errors, mask)
        kl, fit = self.models["prior"](
            memory if self.prior_trains_encoders else memory.detach(),
            *posterior,
            z,
            sample_time(step.random.uniform(*self.draws, stream="prior.time"), self.time_law),
            step.random.normal(*self.draws, self.latent_dim, stream="prior.noise"),
        )
        balance = load_balance_loss(logits, self._of_all(routing(logits), step))
        information = routing_information_loss(share, self._of_all(share, step))
        terms: dict[str, tuple[float, Tensor]] = {
            "velocity": (1.0, mixture),
            "kl": (self.beta, kl.sum(dim=-1).mean()),
            "prior": (1.0, fit.mean()),
            "load_balance": (self.load_balance_weight, balance),
            "gate_information": (self.gate_information_weight, information),
            "gate_z": (self.gate_z_weight, router_z_loss(logits)),
        }
        metrics: dict[str, Tensor | float] = {}
        if self.transport is not None:
            start = self.decoder.step(noise, torch.zeros_like(t), cache)
            reached = endpoint(noise, self._chosen(start, share), torch.zeros_like(t))
            states = transport_states(batch, self.state_key, memory)
            cost, identity = self.transport.measure(reached, data, mask, states)
            terms["transport"] = (self.transport_weight, cost)
            metrics["transport_identity"] = identity
        total = sum((weight * term for weight, term in terms.values()), mixture.new_zeros(()))
        metrics |= {name: term for name, (_, term) in terms.items()}
        if not step.training or step.step % _AGREEMENT_EVERY == 0:
            metrics["gate_agreement"] = self._agreement(memory, share, step)
        return total, metrics | _diagnose(share, kl)

    def train_step(self, data: Batch, **where: Any) -> dict[str, Any]:
        """Do one optimizer step, then let the prior take the statistics of its latents."""
        metrics = super().train_step(data, **where)
        update = getattr(self.models["prior"], "update", None)
        if update is not None and not self.is_skipped:
            update(self.options.ranks)
        return metrics

    def make_context(self, data: Batch, **where: Any) -> StepContext:
        """Return the context of a step; notes how many actions of the whole batch are real."""
        context = super().make_context(data, **where)
        self._real_actions = mean_real_actions(self.mask(data), self.options.ranks, context)
        return context

    def condition(self) -> Condition:
        """Return what sampling conditions on: a latent of the prior and the gate's first choice."""
        return _ChosenExperts(self)

    def _with_latent(self, memory: Tensor, z: Tensor) -> Tensor:
        return torch.cat([memory, self.models["latent_embedder"](z)], dim=1)

    def _mixture_errors(
        self, velocities: Tensor, share: Tensor, target: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Return the experts' errors of each action, weighted by the gate, `(B, H)`; 0 if padded.

        A mixture of losses, not the loss of a mixture: experts specialise instead of averaging.
        """
        of_each = None if mask is None else mask.unsqueeze(1)
        known = known_target(velocities, target.unsqueeze(1), of_each)
        error = (velocities - known).float().square().mean(dim=-1)  # (B, E, H)
        return (share.unsqueeze(-1) * error).sum(dim=1)

    @torch.no_grad()
    def _agreement(self, memory: Tensor, share: Tensor, step: StepContext) -> Tensor:
        """Return the share of samples whose expert a latent of the prior chooses too.

        Where it is 1 / E or less in spite of a sure gate, acting goes through other experts than
        those that learned the sample: the prior does not know what the posterior does.
        """
        prior = self.models["prior"]
        noise_dim: int = getattr(prior, "noise_dim", self.latent_dim)
        noise = step.random.normal(noise_dim, stream="gate.agreement")
        z = prior.sample(memory, noise.to(memory.dtype))  # type: ignore[operator] # a module's methods are untyped
        chosen = self.models["gate"](memory, z).argmax(dim=-1)
        agreement: Tensor = (chosen == share.argmax(dim=-1)).float().mean()
        return agreement

    def _chosen(self, velocities: Tensor, share: Tensor) -> Tensor:
        """Return the velocity `(B, H, A)` of the mixture or of its best expert."""
        if self.transport_expert == "best":
            return velocities[torch.arange(len(share)), share.argmax(dim=-1)]
        return (share[:, :, None, None].to(velocities.dtype) * velocities).sum(dim=1)

    def _of_all(self, values: Tensor, step: StepContext) -> Tensor:
        """Return the mean over samples `(E,)`, those of all processes while training."""
        mean = values.detach().mean(dim=0)
        ranks = self.options.ranks
        return ranks.sum(mean) / ranks.world_size if step.training else mean


class _ChosenExperts:
    """The field of a plan: each sample's latent is drawn, its expert chosen, and only that run."""

    def __init__(self, trainer: VariationalFlowMatchingPolicyTrainer) -> None:
        self.trainer = trainer
        self.noise_dim: int = getattr(trainer.models["prior"], "noise_dim", trainer.latent_dim)

    def field(self, memory: Tensor, noise: Tensor) -> VelocityField:
        trainer, decoder = self.trainer, self.trainer.decoder
        z = trainer.models["prior"].sample(memory, noise)  # type: ignore[operator] # a module's methods are untyped
        chosen = trainer.models["gate"](memory, z).argmax(dim=-1)
        conditioned = trainer._with_latent(memory, z)  # noqa: SLF001 - the other half of this file
        if torch.compiler.is_exporting():  # one program for all choices
            weights = decoder.select(chosen)
            own = decoder.cache(conditioned, weights)
            return lambda x, t: decoder.step(x, t, own, weights)
        parts = []
        for expert in chosen.unique().tolist():
            rows = (chosen == expert).nonzero().squeeze(1)
            parts.append((rows, expert, decoder.cache(conditioned[rows], expert)))

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            found = torch.empty_like(x)
            for rows, expert, cache in parts:
                found[rows] = decoder.step(x[rows], t[rows], cache, expert)
            return found

        return velocity


def _diagnose(share: Tensor, kl: Tensor) -> dict[str, Tensor | float]:
    """Return what tells whether latent and gate are in use."""
    entropy = -(share * share.clamp(min=1e-9).log()).sum(dim=-1).mean()
    return {
        "gate_entropy": entropy,
        "active_latents": (kl.detach().mean(dim=0) > _ACTIVE_KL).float().sum(),
        "gate_certainty": share.max(dim=-1).values.mean(),
        "busiest_expert": routing(share).mean(dim=0).max(),
    }
