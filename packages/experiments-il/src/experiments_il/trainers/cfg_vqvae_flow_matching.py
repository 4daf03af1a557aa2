"""Flow matching guided by a vector-quantised latent of the chunk, with optimal transport.

Sources: NSVQ, Vali and Baeckstroem, IEEE Access 2022; classifier-free guidance, Ho and Salimans,
arXiv:2207.12598; flow matching, Lipman et al., arXiv:2210.02747.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from experiments_il.blocks.codebook import NSVQCodebook
from experiments_il.flow import endpoint, velocity_target
from experiments_il.losses import known_target
from experiments_il.sample_losses import tell_errors
from experiments_il.trainers.chunk_policy import ChunkPolicyTrainer, require
from experiments_il.trainers.whole_batch import (
    check_group,
    mean_over_actions,
    mean_real_actions,
    transport_loss,
    transport_states,
)
from trainer_core.errors import UserError
from trainer_core.random import KeyedRandom

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from experiments_il.flow import VelocityField
    from experiments_il.policy import Condition
    from policy_constructor.ranges import Fraction, NonNegative, Positive
    from trainer_core.protocols import Batch, StepContext
    from trainer_core.step import StepOptions

__all__ = ["CFGVQVAEFlowMatchingTrainer"]

_ROLES = {
    "posterior": "memory and chunk to latent tokens",
    "codebook": "latent tokens to codes",
    "prior": "memory to codes",
    "latent_embedder": "latent tokens to memory tokens, with `null: true`",
}
_AVERAGE = "posterior_average"
_MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")


class CFGVQVAEFlowMatchingTrainer(ChunkPolicyTrainer):
    """Trains flow matching on codes of the chunk, hidden at random for classifier-free guidance.

        h = posterior(memory, a);   h~ = h + |h - e| n/|n|,  e the nearest code (NSVQ)
        y = h~ kept with probability 1 - drop, else the learned tokens for "no latent"
        L = mean over real actions of (v(x_t, t, [memory, y]) - u)^2
        total = L + transport_weight L_OT + commitment |h - sg(e)|^2 + L_prior

    Acting draws codes from the prior and follows `v_null + guidance (v_y - v_null)`.

    Components of `models:`: those of `naive_flow_matching_policy_trainer`, and `posterior`
    (`token_posterior`), `codebook` (`nsvq_codebook`), `prior` (`categorical_code_prior`),
    `latent_embedder` with `null: true`. The trainer adds `posterior_average`, a moving average of
    the posterior, which the prior is trained against. The `loss:` section is L_OT, such as
    `sinkhorn_knopp`, or is left out. The memory of the decoder has the latent's tokens more.

    The codes begin as latents of the first batches. Codes that are hardly used over `window` steps
    become copies of others with a little noise, until `replace_until`; what the optimizer knew
    about them is forgotten. Every term is a mean over samples of the global batch, also with
    micro-batches or several processes; codes are counted and replaced for all processes at once.

    Args:
        models: The components.
        optimizers: The optimizers by name.
        loss: The transport loss, or None.
        device: Where the components are.
        drop: Probability of hiding the latent of a sample while training.
        guidance: Weight of the latent in sampling; 1: the conditional field, 0: that of no latent.
        commitment: Weight of the distance between latents and their codes.
        transport_weight: Weight of the loss of the `loss:` section.
        average_decay: Decay of the averaged posterior; nearer to 1: smoother, slower to follow.
        window: Steps over which the use of codes is counted.
        dead_fraction: Share of the mean use below which a code is replaced.
        replace_until: Step after which no code is replaced; None: half of the run.
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
        drop: Fraction = 0.1,
        guidance: NonNegative = 1.0,
        commitment: NonNegative = 0.25,
        transport_weight: NonNegative = 0.2,
        average_decay: Fraction = 0.999,
        window: Positive = 100,
        dead_fraction: Fraction = 0.01,
        replace_until: int | None = None,
        prior_trains_encoders: bool = False,
        **settings: Any,
    ) -> None:
        self.transport = transport_loss(loss)
        for name, role in _ROLES.items():
            require(models, name, role)
        self.codebook = _find_codebook(models)
        if _AVERAGE not in models:
            models[_AVERAGE] = copy.deepcopy(models["posterior"]).requires_grad_(
                requires_grad=False
            )
        super().__init__(models, optimizers, loss, device, **settings)
        self.drop = drop
        self.guidance = guidance
        self.commitment = commitment
        self.transport_weight = transport_weight
        self.average_decay = average_decay
        self.window = window
        self.dead_fraction = dead_fraction
        self.replace_until = replace_until
        self.prior_trains_encoders = prior_trains_encoders
        self.tokens: int = models["posterior"].tokens  # type: ignore[assignment] # a module's attributes are untyped
        self._real_actions: Tensor | None = None
        self._counts = torch.zeros(self.codebook.size, device=self.device)

    def configure(self, options: StepOptions) -> None:
        """Take the engine's decisions.

        Raises:
            UserError: The transport groups do not divide a micro-batch.
        """
        super().configure(options)
        check_group(self.transport, options)

    def compute_losses(
        self, batch: Batch, step: StepContext
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Return the sum of the terms, and each of them."""
        data, mask = self.chunks(batch), self.mask(batch)
        memory = self.encode(batch, step)
        h = self.models["posterior"](memory, data, mask)
        noise_of_codes = step.random.normal(*h.shape[1:], stream="codebook.noise")
        latents, codes, nearest = self.codebook(h, noise_of_codes)
        keep = ~step.random.bernoulli(self.drop, stream="guidance.drop")
        x_t, noise, t = self.draw(data, step)
        conditioned = self._with_latent(memory, latents, keep)
        velocity = self.decoder.step(x_t, t, self.decoder.cache(conditioned))
        difference = velocity - known_target(velocity, velocity_target(noise, data), mask)
        errors = difference.float().square().mean(-1)
        tell_errors(step, errors, mask)
        predicted = self.models["prior"](memory if self.prior_trains_encoders else memory.detach())
        with torch.no_grad():
            averaged = self.models[_AVERAGE](memory, data, mask)
            averaged_codes = self.codebook.assign(averaged)
        fit = self.models["prior"].fit(predicted, averaged, averaged_codes)  # type: ignore[operator] # a module's methods are untyped
        terms: dict[str, tuple[float, Tensor]] = {
            "velocity": (1.0, mean_over_actions(errors, self._real_actions)),
            "commitment": (self.commitment, (h - nearest.detach()).float().square().mean()),
            "prior": (1.0, fit.mean()),
        }
        metrics: dict[str, Tensor | float] = {}
        if self.transport is not None:
            cache = self.decoder.cache(self._with_latent(memory, latents))
            begin = torch.zeros_like(t)
            reached = endpoint(noise, self.decoder.step(noise, begin, cache), begin)
            states = transport_states(batch, self.state_key, memory)
            cost, identity = self.transport.measure(reached, data, mask, states)
            terms["transport"] = (self.transport_weight, cost)
            metrics["transport_identity"] = identity
        if step.training:
            self._counts += self.codebook.count(codes)
        total = sum((weight * term for weight, term in terms.values()), errors.new_zeros(()))
        metrics |= {name: term for name, (_, term) in terms.items()}
        return total, metrics | {"codes_in_use": _perplexity(self.codebook.count(codes))}

    def train_step(self, data: Batch, *, iterations: int, **where: Any) -> dict[str, Any]:
        """Do one optimizer step; before it begin the codebook, after it keep it alive."""
        if self.codebook.wants_latents:
            self._collect(data, iterations)
        metrics = super().train_step(data, iterations=iterations, **where)
        self.codebook.usage += self.options.ranks.sum(self._counts)
        self._counts.zero_()
        if not self.is_skipped:
            self._average_posterior()
        if (iterations + 1) % self.window == 0:
            self._replace_dead(iterations)
        return metrics

    def make_context(self, data: Batch, **where: Any) -> StepContext:
        """Return the context of a step; notes how many actions of the whole batch are real."""
        context = super().make_context(data, **where)
        self._real_actions = mean_real_actions(self.mask(data), self.options.ranks, context)
        return context

    def condition(self) -> Condition:
        """Return what sampling conditions on: codes of the prior, with guidance."""
        return _Guided(self)

    def _with_latent(self, memory: Tensor, latents: Tensor, keep: Tensor | None = None) -> Tensor:
        return torch.cat([memory, self.models["latent_embedder"](latents, keep)], dim=1)

    @torch.no_grad()
    def _collect(self, data: Batch, step: int) -> None:
        """Give the codebook the latents of the whole global batch."""
        latents = self.models["posterior"](self.encode(data), self.chunks(data), self.mask(data))
        ranks = self.options.ranks
        of_all = latents.new_zeros(ranks.world_size, *latents.flatten(0, 1).shape)
        of_all[ranks.rank] = latents.flatten(0, 1)
        self.codebook.collect(
            ranks.sum(of_all).flatten(0, 1), self._generator(step, "codebook.start")
        )
        self._forget(torch.ones(self.codebook.size, dtype=torch.bool))

    @torch.no_grad()
    def _average_posterior(self) -> None:
        average, posterior = self.models[_AVERAGE], self.models["posterior"]
        for kept, weight in zip(average.parameters(), posterior.parameters(), strict=True):
            kept.lerp_(weight, 1 - self.average_decay)
        for copied, buffer in zip(average.buffers(), posterior.buffers(), strict=True):
            copied.copy_(buffer)

    def _replace_dead(self, step: int) -> None:
        until = self.options.total_steps // 2 if self.replace_until is None else self.replace_until
        if step < until:
            generator = self._generator(step, "codebook.replace")
            fraction = self.dead_fraction
            self._forget(
                self.codebook.replace_dead(self.codebook.usage, generator, fraction=fraction)
            )
        self.codebook.usage.zero_()

    @torch.no_grad()
    def _forget(self, replaced: Tensor) -> None:
        """Remove what the optimizers know about replaced codes, bool `(C,)`.

        Moments become 0; the base iterate of a schedule-free optimizer becomes the new code.
        """
        codes = self.codebook.codes
        rows = replaced.to(codes.device)
        for optimizer in self.optimizers.values():
            state = optimizer.state.get(codes, {})
            for name in _MOMENTS:
                if name in state:
                    state[name][rows] = 0
            if "z" in state:
                state["z"][rows] = codes[rows]

    def _generator(self, step: int, stream: str) -> torch.Generator:
        return KeyedRandom(self.options.seed, step, total=1).generator(stream)


class _Guided:
    """The field of a plan: codes are drawn once, and both fields computed in one call."""

    def __init__(self, trainer: CFGVQVAEFlowMatchingTrainer) -> None:
        self.trainer = trainer
        self.noise_dim = trainer.tokens

    def field(self, memory: Tensor, noise: Tensor) -> VelocityField:
        trainer, decoder = self.trainer, self.trainer.decoder
        prior: Any = trainer.models["prior"]
        codes = prior.choose(prior(memory), noise, trainer.codebook)
        latents = trainer.codebook.codes[codes]
        guidance = trainer.guidance
        if guidance == 1:
            known = decoder.cache(trainer._with_latent(memory, latents))  # noqa: SLF001 - the other half of this file
            return lambda x, t: decoder.step(x, t, known)
        count = memory.shape[0]
        keep = torch.arange(2 * count, device=memory.device) < count
        both = trainer._with_latent(  # noqa: SLF001 - the same
            torch.cat([memory, memory]), torch.cat([latents, latents]), keep
        )
        cache = decoder.cache(both)

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            found: Tensor = decoder.step(torch.cat([x, x]), torch.cat([t, t]), cache)
            with_latent, without = found[:count], found[count:]
            return without + guidance * (with_latent - without)

        return velocity


def _find_codebook(models: nn.ModuleDict) -> NSVQCodebook:
    codebook = models["codebook"]
    if not isinstance(codebook, NSVQCodebook):
        message = f"models.codebook is a {type(codebook).__name__}; use nsvq_codebook"
        raise UserError(message)
    return codebook


def _perplexity(counts: Tensor) -> Tensor:
    """Return the effective number of codes in use, a scalar."""
    share = counts / counts.sum().clamp(min=1)
    return torch.exp(-(share * share.clamp(min=1e-9).log()).sum())
