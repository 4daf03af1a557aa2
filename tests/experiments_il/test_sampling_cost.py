"""Keys and values of the memory are projected once per sample, whatever the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from experiments_il.blocks.action_decoder import TransformerActionDecoder
from experiments_il.blocks.chunk_encoder import GaussianPosterior, TokenPosterior
from experiments_il.blocks.code_prior import CategoricalCodePrior
from experiments_il.blocks.codebook import NSVQCodebook
from experiments_il.blocks.expert_decoder import TransformerExpertDecoder
from experiments_il.blocks.gate import ExpertGate
from experiments_il.blocks.latent_embedder import LatentEmbedder
from experiments_il.blocks.prior import FlowPrior
from experiments_il.losses import L2
from experiments_il.trainers.cfg_vqvae_flow_matching import CFGVQVAEFlowMatchingTrainer
from experiments_il.trainers.naive_flow_matching import NaiveFlowMatchingPolicyTrainer
from experiments_il.trainers.variational_flow_matching import VariationalFlowMatchingPolicyTrainer
from trainer_core.normalize import Normalizer

if TYPE_CHECKING:
    from tests.experiments_il.conftest import TwoModes

LAYERS, EXPERTS = 3, 2


class CountingExperts(TransformerExpertDecoder):
    """Counts how often the memory is projected."""

    projected = 0

    def cache(self, memory: Tensor, *arguments: Any, **named: Any) -> Any:
        self.projected += 1
        return super().cache(memory, *arguments, **named)


def decoder_of(task: TwoModes) -> TransformerActionDecoder:
    return TransformerActionDecoder(task.action_dim, task.horizon, task.width, LAYERS, 4)


def count_projections(decoder: nn.Module) -> list[str]:
    """Return a list that grows with every projection of the memory to keys and values."""
    calls: list[str] = []
    for name, module in decoder.named_modules():
        if name.endswith("key_value"):
            module.register_forward_hook(lambda *_args, name=name: calls.append(name))
    return calls


def sample(trainer: Any) -> None:
    trainer.models.eval()
    trainer.policy(Normalizer({})).act({"observation.state": torch.zeros(5, 1, 1)})


@pytest.mark.parametrize("solver", ["euler", "midpoint", "heun", "rk4"])
def test_flow_matching_projects_once_a_layer(two_modes: TwoModes, solver: Any) -> None:
    decoder = decoder_of(two_modes)
    models = nn.ModuleDict({**two_modes.encoders(), "action_decoder": decoder})
    trainer = NaiveFlowMatchingPolicyTrainer(models, {}, L2(), "cpu", solver=solver)
    calls = count_projections(decoder)
    sample(trainer)
    assert len(calls) == len(set(calls)) == LAYERS


def test_guidance_projects_both_memories_at_once(two_modes: TwoModes) -> None:
    h, a, w = two_modes.horizon, two_modes.action_dim, two_modes.width
    models = nn.ModuleDict(
        {
            **two_modes.encoders(),
            "posterior": TokenPosterior(a, h, 1, 4, w, 16),
            "codebook": NSVQCodebook(4, 4),
            "prior": CategoricalCodePrior(4, 1, w, 16),
            "latent_embedder": LatentEmbedder(4, w, 1, null=True),
            "action_decoder": decoder_of(two_modes),
        }
    )
    trainer = CFGVQVAEFlowMatchingTrainer(models, {}, None, "cpu", guidance=2.0)
    calls = count_projections(models["action_decoder"])
    sample(trainer)
    assert len(calls) == LAYERS


def test_experts_project_once_each_at_most(two_modes: TwoModes) -> None:
    h, a, w = two_modes.horizon, two_modes.action_dim, two_modes.width
    decoder = CountingExperts(a, h, EXPERTS, w, LAYERS, 4)
    models = nn.ModuleDict(
        {
            **two_modes.encoders(),
            "posterior": GaussianPosterior(a, h, 2, w, 16),
            "prior": FlowPrior(2, w, 16),
            "gate": ExpertGate(EXPERTS, 2, w, 16),
            "latent_embedder": LatentEmbedder(2, w),
            "action_decoder": decoder,
        }
    )
    sample(VariationalFlowMatchingPolicyTrainer(models, {}, None, "cpu"))
    assert 1 <= decoder.projected <= EXPERTS
