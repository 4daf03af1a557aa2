"""Time a mixture of decoders with stacked weights against a loop over separate decoders.

    OMP_NUM_THREADS=1 python benchmarks/experts.py [--rounds 15]

Forward and backward of all experts, CPU time on one thread, in turn, medians. "launch-bound"
is a model so small that the calls cost more than the arithmetic, as larger ones are on a GPU; in
"small", four experts' arithmetic takes about as long as the calls.
Goals: at least 2 times faster when launch-bound, nowhere slower than 1.05 times the loop.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

import torch

from experiments_il.blocks.action_decoder import TransformerActionDecoder
from experiments_il.blocks.expert_decoder import TransformerExpertDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

SHAPES = {
    "launch-bound": {"width": 32, "layers": 2, "batch": 2, "horizon": 8, "memory": 4},
    "small": {"width": 64, "layers": 2, "batch": 4, "horizon": 8, "memory": 4},
    "mid": {"width": 128, "layers": 3, "batch": 16, "horizon": 40, "memory": 64},
}


def time_ms(call: Callable[[], Tensor], modules: Sequence[nn.Module]) -> float:
    """Return the milliseconds of a forward and a backward pass."""
    for module in modules:
        module.zero_grad()
    began = time.process_time()
    torch.autograd.backward(call().square().mean())
    return 1e3 * (time.process_time() - began)


def run_loop(decoders: Sequence[nn.Module], x: Tensor, t: Tensor, memory: Tensor) -> Tensor:
    """Return the velocities of separate decoders."""
    return torch.stack([decoder(x, t, memory) for decoder in decoders], dim=1)


def main() -> None:
    """Print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name, shape in SHAPES.items():
        width, layers, horizon = shape["width"], shape["layers"], shape["horizon"]
        x = torch.randn(shape["batch"], horizon, 8)
        t = torch.rand(shape["batch"])
        memory = torch.randn(shape["batch"], shape["memory"], width)
        for count in (4, 8):
            stack = TransformerExpertDecoder(8, horizon, count, width, layers, 4)
            loop = [TransformerActionDecoder(8, horizon, width, layers, 4) for _ in range(count)]
            calls: dict[str, tuple[Callable[[], Tensor], Sequence[nn.Module]]] = {
                "loop": (partial(run_loop, loop, x, t, memory), loop),
                "stacked": (partial(stack, x, t, memory), [stack]),
            }
            times: dict[str, list[float]] = {each: [] for each in calls}
            for _ in range(rounds + 2):
                for each, (call, modules) in calls.items():
                    times[each].append(time_ms(call, modules))
            medians = {each: statistics.median(found[2:]) for each, found in times.items()}
            ratio = medians["loop"] / medians["stacked"]
            figures = ", ".join(f"{each} {median:.1f} ms" for each, median in medians.items())
            print(f"{name}, {count} experts: {figures}: {ratio:.2f} times faster")


if __name__ == "__main__":
    main()
