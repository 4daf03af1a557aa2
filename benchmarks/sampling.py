"""Time sampling with the memory's keys and values kept against projecting them at every step.

    OMP_NUM_THREADS=1 python benchmarks/sampling.py [--rounds 15]

One chunk of 40 actions, 10 Euler steps, width 256, 4 layers, 512 memory tokens; CPU time on one
thread, in turn, medians. Goal: at least 1.5 times faster.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

import torch

from experiments_il.blocks.action_decoder import TransformerActionDecoder
from experiments_il.flow import integrate

if TYPE_CHECKING:
    from torch import Tensor


def main() -> None:
    """Print the medians, their ratio and the largest difference of the two results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    decoder = TransformerActionDecoder(24, 40, 256, 4, 8).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    noise, memory = torch.randn(1, 40, 24), torch.randn(1, 512, 256)

    def kept() -> Tensor:
        cache = decoder.cache(memory)
        return integrate(lambda x, t: decoder.step(x, t, cache), noise)

    def recomputed() -> Tensor:
        return integrate(lambda x, t: decoder(x, t, memory), noise)

    times: dict[str, list[float]] = {"kept": [], "recomputed": []}
    with torch.no_grad():
        for _ in range(rounds + 2):
            for name, sample in (("kept", kept), ("recomputed", recomputed)):
                began = time.process_time()
                sample()
                times[name].append(1e3 * (time.process_time() - began))
        difference = float((kept() - recomputed()).abs().max())
    medians = {name: statistics.median(each[2:]) for name, each in times.items()}
    print(", ".join(f"{name} {median:.1f} ms" for name, median in medians.items()))
    print(
        f"{medians['recomputed'] / medians['kept']:.2f} times faster, difference {difference:.1e}"
    )


if __name__ == "__main__":
    main()
