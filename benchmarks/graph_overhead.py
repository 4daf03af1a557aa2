"""Time a model built from YAML against the same network written by hand.

    python benchmarks/graph_overhead.py [--rounds 60] [--calls 300]

A 64-64-64 MLP, batch 32, one thread. Both networks hold the same weights and are called in turn,
a few hundred calls each, in changing order; the ratio of each round is taken inside that round, so
that a busy machine slows both. Printed: the median ratio with its quartiles, for forward alone and
for forward with backward.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from policy_constructor.build import build_model

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = {
    "model": {
        "graph": {
            "inputs": ["x"],
            "modules": {
                "hidden": {"_type_": "nn.Linear", "in_features": 64, "out_features": 64},
                "act": {"_type_": "nn.ReLU"},
                "head": {"_type_": "nn.Linear", "in_features": 64, "out_features": 64},
            },
            "steps": [
                {"call": "module:hidden", "args": ["$x"], "out": "h"},
                {"call": "module:act", "args": ["$h"], "out": "a"},
                {"call": "module:head", "args": ["$a"], "out": "y"},
            ],
            "outputs": ["$y"],
        }
    }
}


class HandWritten(nn.Module):
    """The same network as one writes it in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(64, 64)
        self.act = nn.ReLU()
        self.head = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(B, 64)` to `(B, 64)`."""
        y: torch.Tensor = self.head(self.act(self.hidden(x)))
        return y


def forward(model: nn.Module, x: torch.Tensor) -> None:
    """Call the model without gradients."""
    with torch.no_grad():
        model(x)


def forward_backward(model: nn.Module, x: torch.Tensor) -> None:
    """Call the model and back-propagate the mean of its output."""
    model(x).mean().backward()


def seconds(run: Callable[[nn.Module, Any], None], model: nn.Module, calls: int) -> float:
    """Return the CPU seconds of one call."""
    x = torch.randn(32, 64)
    start = time.process_time()
    for _ in range(calls):
        run(model, x)
    return (time.process_time() - start) / calls


def compare(
    run: Callable[[nn.Module, Any], None], built: nn.Module, written: nn.Module, args: Any
) -> None:
    """Print what the built model costs in units of the written one."""
    ratios: list[float] = []
    references: list[float] = []
    for index in range(args.rounds + 2):
        gc.collect()
        order = (built, written) if index % 2 else (written, built)
        cost = {model: seconds(run, model, args.calls) for model in order}
        if index >= 2:
            ratios.append(cost[built] / cost[written])
            references.append(cost[written])
    low, middle, high = statistics.quantiles(ratios, n=4)
    reference_us = statistics.median(references) * 1e6
    print(
        f"{run.__name__:17} by hand {reference_us:6.1f} us, "
        f"built / by hand {middle:.4f} (quartiles {low:.4f} to {high:.4f})"
    )


def main() -> None:
    """Compare both networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--calls", type=int, default=300)
    args = parser.parse_args()
    torch.set_num_threads(1)
    built, written = build_model(MODEL), HandWritten()
    written.load_state_dict(built.state_dict())
    compare(forward, built, written, args)
    compare(forward_backward, built, written, args)


if __name__ == "__main__":
    main()
