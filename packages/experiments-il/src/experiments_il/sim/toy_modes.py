"""Measures which ways a policy takes in the toy of `data.toy_modes`, with few and many steps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from experiments_il.data.toy_modes import check_modes, mode_of, share_modes
from experiments_il.data.toy_shapes import ACTION_DIM, HORIZON, STATE_DIM
from experiments_il.sim.statistics import wilson_interval
from trainer_core.errors import UserError
from trainer_core.random import derive_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from experiments_il.data.toy_modes import Modes
    from experiments_il.policy import Policy
    from policy_constructor.ranges import Positive
    from trainer_core.protocols import EvaluationContext

__all__ = ["ToyModesEvaluator"]

_STATE_KEY = "observation.state"


class ToyModesEvaluator:
    """Samples chunks and counts the ways they take, latents drawn from the prior.

    Writes `modes.json` and the chunks themselves, `chunks.npz`, into the evaluation's folder. A
    policy that does not integrate has the same chunks for any number of steps.

    Args:
        modes: How many ways there are, 2 or 4, as in the data.
        samples: Chunks for each number of sampling steps.
        sampling_steps: Numbers of sampling steps to measure with.
        seed: Seed of the noise.

    Raises:
        UserError: There is no such toy, or a number is out of its range.
    """

    def __init__(
        self,
        modes: Modes = 2,
        samples: Positive = 2000,
        sampling_steps: Sequence[int] = (1, 2, 10),
        seed: int = 0,
    ) -> None:
        check_modes(modes, "evaluation")
        if samples < 1 or not sampling_steps or min(sampling_steps) < 1:
            message = (
                "evaluation.samples and each of evaluation.sampling_steps must be at least 1, got "
                f"{samples} and {list(sampling_steps)}"
            )
            raise UserError(message)
        self.modes = modes
        self.samples = samples
        self.sampling_steps = tuple(sampling_steps)
        self.seed = seed

    def evaluate(self, context: EvaluationContext) -> dict[str, Any]:
        """Return `off_mode_<N>`, `least_mode_<N>` and `mode_entropy_<N>` for N sampling steps.

        `success_rate`, `n` and `ci95` are those of taking any way with the most steps.

        Raises:
            UserError: The trainer has no policy, or one for something else.
        """
        policy = _find_policy(context)
        results: dict[str, Any] = {}
        chunks: dict[str, Any] = {}
        table = {}
        for number, steps in enumerate(self.sampling_steps):
            sampled = self._sample(policy, steps, context.device)
            found = share_modes(mode_of(sampled, self.modes), self.modes)
            results |= {
                f"off_mode_{steps}": found.off_mode,
                f"least_mode_{steps}": min(found.shares),
                f"mode_entropy_{steps}": found.entropy,
            }
            chunks[f"steps_{steps}"] = sampled.numpy()
            table[steps] = found._asdict()
            context.progress(number + 1, len(self.sampling_steps), f"{steps} sampling steps")
        context.out_dir.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"modes": self.modes, "samples": self.samples, "steps": table}, indent=1)
        (context.out_dir / "modes.json").write_text(text + "\n", encoding="utf-8")
        np.savez_compressed(context.out_dir / "chunks.npz", **chunks)
        on_mode = round(self.samples * (1 - results[f"off_mode_{max(self.sampling_steps)}"]))
        summary = {"success_rate": on_mode / self.samples, "n": self.samples}
        return summary | {"ci95": list(wilson_interval(on_mode, self.samples))} | results

    def _sample(self, policy: Policy, steps: int, device: torch.device) -> torch.Tensor:
        """Return chunks `(samples, 8, 2)` on the CPU."""
        if hasattr(policy, "num_inference_steps"):
            policy.num_inference_steps = steps
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "toy modes"))
        noise = torch.randn(self.samples, *policy.noise_shape, generator=generator)
        nothing = torch.zeros(self.samples, 1, STATE_DIM, device=device)
        return policy.act({_STATE_KEY: nothing}, noise=noise.to(device)).cpu()


def _find_policy(context: EvaluationContext) -> Policy:
    make_policy = getattr(context.trainer, "policy", None)
    if make_policy is None:
        message = (
            "the evaluator 'toy_modes' needs a trainer with a policy; "
            f"{type(context.trainer).__name__} has no method policy(normalizer)"
        )
        raise UserError(message)
    policy: Policy = make_policy(context.normalizer)
    shape = (policy.horizon, policy.action_dim)
    if shape != (HORIZON, ACTION_DIM) or set(policy.observation_keys) - {_STATE_KEY}:
        message = (
            f"the toy has chunks of {HORIZON} actions of {ACTION_DIM} dimensions and shows "
            f"{_STATE_KEY} alone; the policy has chunks of {shape[0]} of {shape[1]} and sees "
            f"{', '.join(policy.observation_keys)}"
        )
        raise UserError(message)
    return policy
