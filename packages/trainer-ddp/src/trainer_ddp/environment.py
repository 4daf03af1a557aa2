"""Which rank this process is, as torchrun, SLURM or Kubernetes tell it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trainer_core.distributed.place import Place
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["find_place", "first_host"]

_DEFAULT_PORT = 29500
_FIRST_SLURM_PORT = 20000
_SLURM_PORTS = 20000


def find_place(environment: Mapping[str, str]) -> Place | None:
    """Return which rank another launcher made of this process; None if there is no other.

    torchrun and Kubernetes' PyTorchJob set RANK and WORLD_SIZE, `srun` its own variables. A batch
    script of SLURM itself (one task, no step) counts as no launcher.

    Raises:
        UserError: The variables are there and make no sense.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _from_torchrun(environment)
    if _number(environment, "SLURM_NTASKS", 1) > 1 and "SLURM_STEP_ID" in environment:
        return _from_slurm(environment)
    return None


def first_host(nodes: str) -> str:
    """Return the first machine of a SLURM node list: `gpu[03-05,9],login` begins with `gpu03`."""
    match = re.match(r"([^,\[]+)(?:\[([^\]]+)\]([^,]*))?", nodes)
    if match is None:
        msg = f"SLURM_JOB_NODELIST is no list of machines: {nodes!r}"
        raise UserError(msg)
    prefix, numbers, suffix = match.groups()
    if numbers is None:
        return prefix
    return f"{prefix}{re.split('[-,]', numbers)[0]}{suffix}"


def _from_torchrun(environment: Mapping[str, str]) -> Place:
    rank, world_size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    if not 0 <= rank < world_size:
        msg = f"RANK={rank} is no rank of WORLD_SIZE={world_size} processes"
        raise UserError(msg)
    if world_size > 1 and "MASTER_ADDR" not in environment:
        msg = f"RANK={rank} and WORLD_SIZE={world_size} are set and MASTER_ADDR is not"
        raise UserError(msg)
    local = _number(environment, "LOCAL_WORLD_SIZE", 1)
    return Place(
        rank,
        _number(environment, "LOCAL_RANK", rank % local),
        world_size,
        local,
        environment.get("MASTER_ADDR", "127.0.0.1"),
        _number(environment, "MASTER_PORT", _DEFAULT_PORT),
        _number(environment, "TORCHELASTIC_RESTART_COUNT", 0),
    )


def _from_slurm(environment: Mapping[str, str]) -> Place:
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    job = _number(environment, "SLURM_JOB_ID", 0)
    port = _FIRST_SLURM_PORT + job % _SLURM_PORTS  # jobs that share a machine do not meet
    world_size = _number(environment, "SLURM_NTASKS")
    per_node = environment.get("SLURM_NTASKS_PER_NODE", "1")
    return Place(
        _number(environment, "SLURM_PROCID"),
        _number(environment, "SLURM_LOCALID", 0),
        world_size,
        int(per_node) if per_node.isdecimal() else 1,
        environment.get("MASTER_ADDR") or first_host(nodes),
        _number(environment, "MASTER_PORT", port),
    )


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal():
        msg = f"the environment variable {name} should be a number; it is {text!r}"
        raise UserError(msg)
    return int(text)
