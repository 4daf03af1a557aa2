"""Time the K-OT loss against geomloss, and its exact backend against both.

    OMP_NUM_THREADS=1 python -m benchmarks.transport [--rounds 50]

Value and gradient with respect to the prediction; 60 points of 984 dimensions (24 actions of 40
steps and the state), matched up to noise, blur 0.004, scaling 0.5, debiased, CPU time on one
thread. The candidates take turns, round by round; the median of each is shown. Goals: at most 1.2
times geomloss's time; the exact backend at least 5 times faster than geomloss, and than the
Sinkhorn of this package.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

import geomloss
import torch

from experiments_il.losses import SinkhornKnopp

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def matched_clouds(points: int, dimensions: int) -> tuple[Tensor, Tensor]:
    """Return a cloud, and the same one in another order with noise."""
    torch.manual_seed(0)
    target = torch.randn(points, dimensions)
    return target[torch.randperm(points)] + 0.5 * torch.randn(points, dimensions), target


def time_ms(loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """Return the milliseconds of one value and gradient."""
    leaf = x.clone().requires_grad_()
    began = time.process_time()
    loss(leaf, y).backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
    return 1e3 * (time.process_time() - began)


def main() -> None:
    """Print the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for points, dimensions in ((60, 984), (60, 1920), (24, 984)):
        x, y = matched_clouds(points, dimensions)
        own = {
            backend: SinkhornKnopp(
                group=points, scale="raw_half", blur=0.004, scaling=0.5, backend=backend
            )
            for backend in ("sinkhorn", "exact")
        }
        candidates = {"geomloss": geomloss.SamplesLoss("sinkhorn", blur=0.004, scaling=0.5), **own}
        values = {name: float(loss(x, y)) for name, loss in candidates.items()}
        times: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(rounds + 2):
            for name, loss in candidates.items():
                times[name].append(time_ms(loss, x, y))
        medians = {name: statistics.median(each[2:]) for name, each in times.items()}
        print(f"{points} points of {dimensions} dimensions")
        for name, median in medians.items():
            print(f"  {name:9} {median:7.2f} ms   value {values[name]:.4f}")
        print(f"  sinkhorn / geomloss {medians['sinkhorn'] / medians['geomloss']:.2f}")
        print(f"  geomloss / exact    {medians['geomloss'] / medians['exact']:.1f}")
        print(f"  sinkhorn / exact    {medians['sinkhorn'] / medians['exact']:.1f}")


if __name__ == "__main__":
    main()
