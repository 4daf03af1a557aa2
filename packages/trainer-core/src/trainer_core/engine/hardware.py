"""Which device, number format and threads a run uses."""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from policy_constructor.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["configure_torch", "resolve_device", "resolve_precision"]


_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@cache
def _torch_threads() -> int:
    """Return torch's own choice, before any run of this process has changed it."""
    return torch.get_num_threads()


def _processors() -> int:
    """Return how many processors this process may keep busy."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = _CPU_QUOTA.read_text(encoding="ascii").split()[:2]
        share = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or no limit: "max"
        return allowed or 1
    return max(1, min(allowed or 1, share))


def _plain_problem(path: tuple[str, ...], message: str) -> Problem:
    return Problem(message, path=".".join(path))


def resolve_device(
    name: str,
    *,
    local_rank: int = 0,
    problem: Callable[..., Problem] = _plain_problem,
) -> torch.device:
    """Return the device of this process.

    Args:
        name: `auto` (CUDA if there is any, else the CPU), `cpu`, `cuda`, `cuda:N` or `mps`.
        local_rank: Number of this process on its machine; `cuda` means that card.
        problem: Makes a located problem from a path and a message.

    Raises:
        ConfigError: This machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = local_rank if device.index is None else device.index
        if index >= count:
            message = f"the device {name!r} is not there: torch sees {count} CUDA devices"
            raise ConfigError(problem(("run", "device"), message))
        torch.cuda.set_device(index)
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        message = "the device 'mps' is not there: torch cannot use Metal on this machine"
        raise ConfigError(problem(("run", "device"), message))
    return device


def resolve_precision(
    name: str, device: torch.device, *, problem: Callable[..., Problem] = _plain_problem
) -> str:
    """Return `fp32`, `bf16` or `fp16`, the number format of the forward pass.

    Args:
        name: `auto` means bf16 on a CUDA device that computes in it, else fp32.
        device: Where the models are.
        problem: Makes a located problem from a path and a message.

    Raises:
        ConfigError: `fp16` on a device of Apple, whose autocast torch does not offer for it.
    """
    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if fast else "fp32"
    if name == "fp16" and device.type not in {"cuda", "cpu"}:
        message = f"fp16 needs a CUDA device, this run is on {device.type!r}; use fp32"
        raise ConfigError(problem(("run", "precision"), message))
    return name


def configure_torch(run: Any, num_workers: int = 0) -> None:
    """Set the threads and the determinism that the `run:` section asks for.

    Without `run.threads`, torch uses at most the processors that this process may run on, its
    container's share included, less one for each loader process.

    Args:
        run: The section.
        num_workers: Loader processes of the run.
    """
    threads = run.threads or max(1, min(_torch_threads(), _processors()) - num_workers)
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    if run.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    if run.deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(run.deterministic)
