"""Stacked experts equal separate decoders: values, gradients, weights, cost."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from experiments_il.blocks.action_decoder import MLPActionDecoder, TransformerActionDecoder
from experiments_il.blocks.expert_decoder import (
    ExpertDecoder,
    MLPExpertDecoder,
    TransformerExpertDecoder,
)

EXPERTS, B, H, A, M, D = 3, 4, 5, 2, 2, 16
KINDS = ["mlp", "transformer", "causal"]


def build(kind: str, experts: int = EXPERTS) -> tuple[ExpertDecoder, list[nn.Module]]:
    """Return a mixture with random weights, and separate decoders with the same ones."""
    torch.manual_seed(0)
    mixture: ExpertDecoder
    if kind == "mlp":
        mixture = MLPExpertDecoder(A, H, experts, M, D, D)
        singles: list[nn.Module] = [MLPActionDecoder(A, H, M, D, D) for _ in range(experts)]
    else:
        mixture = TransformerExpertDecoder(A, H, experts, D, 2, 2, causal=kind == "causal")
        singles = [
            TransformerActionDecoder(A, H, D, 2, 2, causal=kind == "causal") for _ in range(experts)
        ]
    for parameter in mixture.parameters():
        nn.init.normal_(parameter, std=0.3)
    state = mixture.double().state_dict()
    for number, single in enumerate(singles):
        prefix = f"weights.experts.{number}."
        part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        single.double().load_state_dict(part, strict=True)
    return mixture, singles


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(B, H, A, generator=generator, dtype=torch.float64)
    memory = torch.randn(B, M, D, generator=generator, dtype=torch.float64)
    return x, torch.linspace(0, 0.9, B, dtype=torch.float64), memory.requires_grad_()


@pytest.mark.parametrize("kind", KINDS)
def test_all_experts_equal_a_loop(kind: str) -> None:
    mixture, singles = build(kind)
    x, t, memory = inputs()
    expected = torch.stack([single(x, t, memory) for single in singles], dim=1)
    assert torch.allclose(mixture(x, t, memory), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_those_of_a_loop(kind: str) -> None:
    mixture, singles = build(kind)
    x, t, memory = inputs()
    weights = torch.randn(B, EXPERTS, H, A, dtype=torch.float64)
    expected = torch.stack([single(x, t, memory) for single in singles], dim=1)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), memory, retain_graph=True)
    named = [dict(single.named_parameters()) for single in singles]
    torch.autograd.backward((mixture(x, t, memory) * weights).sum())
    torch.autograd.backward(
        (expected * weights).sum(), inputs=[p for each in named for p in each.values()]
    )
    assert memory.grad is not None
    assert torch.allclose(memory.grad, wanted, atol=1e-8, rtol=0)
    for slot in mixture.weights.slots.values():
        kept = mixture.weights.stacked[slot.key].grad
        assert kept is not None
        for name, stacked in slot.unstack(kept).items():
            loop = torch.stack([each[name].grad for each in named])  # type: ignore[misc]
            assert torch.allclose(stacked, loop, atol=1e-8, rtol=0), name


@pytest.mark.parametrize("kind", KINDS)
def test_one_expert_equals_its_row_of_all(kind: str) -> None:
    mixture, _ = build(kind)
    x, t, memory = inputs()
    alone = mixture.step(x, t, mixture.cache(memory, 1), 1)
    assert torch.allclose(alone, mixture(x, t, memory)[:, 1], atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_one_expert_costs_a_third_of_three(kind: str) -> None:
    mixture, singles = build(kind)
    x, t, memory = (each.detach() for each in inputs())

    def count(call: object) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            call()  # type: ignore[operator]
        return int(counter.get_total_flops())

    one = count(lambda: mixture.step(x, t, mixture.cache(memory, 1), 1))
    assert one == count(lambda: singles[1](x, t, memory))
    assert count(lambda: mixture(x, t, memory)) == EXPERTS * one


def test_first_weights_are_those_of_separate_decoders() -> None:
    torch.manual_seed(3)
    mixture = MLPExpertDecoder(A, H, 2, M, D, D)
    torch.manual_seed(3)
    singles = [MLPActionDecoder(A, H, M, D, D) for _ in range(2)]
    state = mixture.state_dict()
    for number, single in enumerate(singles):
        for name, tensor in single.state_dict().items():
            assert torch.equal(state[f"weights.experts.{number}.{name}"], tensor)


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_goes_round_bit_for_bit(kind: str) -> None:
    mixture, _ = build(kind)
    other = build(kind)[0]
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    other.load_state_dict(mixture.state_dict())
    for name, parameter in mixture.named_parameters():
        assert torch.equal(other.get_parameter(name), parameter)


def test_stacked_layout_is_accepted() -> None:
    mixture, _ = build("mlp")
    state = {name: parameter + 1 for name, parameter in mixture.named_parameters()}
    mixture.load_state_dict({name: tensor.detach() for name, tensor in state.items()})
    for name, parameter in mixture.named_parameters():
        assert torch.equal(parameter, state[name])


def test_single_expert_is_the_plain_decoder() -> None:
    mixture, singles = build("transformer", experts=1)
    x, t, memory = inputs()
    assert torch.allclose(mixture(x, t, memory)[:, 0], singles[0](x, t, memory), atol=1e-12)


def test_memory_of_another_shape_is_refused() -> None:
    mixture, _ = build("mlp")
    with pytest.raises(ValueError, match=r"^memory has shape \(4, 3, 16\), expected \(B, 2, 16\)"):
        mixture.cache(torch.zeros(B, 3, D, dtype=torch.float64))
