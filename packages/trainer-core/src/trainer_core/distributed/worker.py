"""One rank of a run: joins the others, builds, trains, and says how it ended."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import distributed as dist
from torch.distributed import (  # type: ignore[attr-defined] # not in its __all__
    PrefixStore,
    Store,
)
from torch.distributed.rendezvous import rendezvous

from trainer_core.checkpoint.layout import list_steps
from trainer_core.distributed.addresses import address_towards, interface_of
from trainer_core.distributed.ranks import ProcessGroupRanks
from trainer_core.distributed.reports import (
    describe,
    echo,
    is_told_by_main,
    tell_by_main,
)
from trainer_core.distributed.stores import join_store, serve_store
from trainer_core.distributed.waiting import LOOPBACK, within
from trainer_core.engine.build import build_experiment
from trainer_core.engine.dry_run import dry_run
from trainer_core.engine.hardware import resolve_device
from trainer_core.engine.loop import fit
from trainer_core.engine.probe import check_first_batch
from trainer_core.engine.runfolder import describe_plugins
from trainer_core.errors import TrainerError, UserError
from trainer_core.hookspecs import hookimpl
from trainer_core.ranks import LocalRanks
from trainer_core.results import RunResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trainer_core.distributed.options import GroupOptions
    from trainer_core.distributed.place import Place
    from trainer_core.engine.built import Experiment
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.ranks import Ranks

__all__ = ["choose_backend", "explain_absence", "resume_after_restart", "run_rank"]

Result = TypeVar("Result")

_DELAY_S = 5.0
"""What is granted beyond the limit, so that torch can say more than that it took too long."""


def run_rank(
    loaded: LoadedExperiment,
    place: Place,
    options: GroupOptions,
    *,
    resume: str | int,
    on_begin: Callable[[], None] = lambda: None,
    hooks: Iterable[object] = (),
) -> RunResult:
    """Train as one of several ranks.

    They meet here, unless whoever started this process has opened torch's process group already.

    Args:
        loaded: The experiment, the same on every rank.
        place: Which rank this is.
        options: The runner's options.
        resume: As in `run.resume`.
        on_begin: Called on every rank when all of them train and hear signals.
        hooks: Further plugins of the run.

    Raises:
        ConfigError: Something in the file cannot be had or does not fit.
        UserError: The ranks cannot meet, or have different experiments.
        TrainerError: The run failed here or on another rank.
    """
    if place.world_size == 1:
        return _run_alone(loaded, resume=resume, hooks=[*hooks, _Beginning(LocalRanks(), on_begin)])
    device = resolve_device(
        loaded.config.run.device, local_rank=place.local_rank, problem=loaded.resolved.problem
    )
    backend = choose_backend(options, device.type)
    timeout_s = options.group_timeout_s(backend)
    with _process_group(place, backend, timeout_s):
        ranks = ProcessGroupRanks(place, options, timeout_s, device.type)
        _require_same_experiment(loaded, ranks)
        built = _build_together(loaded, ranks)
        out_dir = Path(loaded.config.run.out_dir)
        ranks.start()
        if loaded.dry_run:
            return RunResult("checked", 0, out_dir=out_dir, report=dry_run(built))
        for hook in (*hooks, _Beginning(ranks, on_begin)):
            built.hooks.add(hook)
        return fit(built, out_dir, ranks=ranks, resume=resume)


def choose_backend(options: GroupOptions, device_type: str) -> str:
    """Return `gloo` or `nccl`.

    Raises:
        UserError: nccl is asked for, and the run is not on CUDA; or something needs nccl.
    """
    backend = options.backend
    if backend == "auto":
        backend = "nccl" if device_type == "cuda" else "gloo"
    if options.comm_hook == "bf16" and backend != "nccl":
        options.refuse(f"comm_hook bf16 needs nccl, this run has {backend}; use comm_hook: fp16")
    if options.backend == "nccl" and device_type != "cuda":
        options.refuse(
            f"backend nccl needs CUDA devices, this run is on {device_type!r}; "
            "use backend: gloo, or auto"
        )
    return backend


def resume_after_restart(resume: str | int, out_dir: Path, *, has_begun: bool) -> str | int:
    """Return where a run goes on whose processes were started again.

    What it has saved since it was begun comes first, wherever it was begun from. Before that, the
    user's choice holds.
    """
    if not has_begun:
        return resume
    has_own = bool(list_steps(out_dir / "checkpoints"))
    return "auto" if has_own or resume == "none" else resume


@contextmanager
def _process_group(place: Place, backend: str, timeout_s: float) -> Iterator[None]:
    if dist.is_initialized():
        yield
        return
    os.environ.update(place.to_environment())
    interface = _interface_of_gloo(place)
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    limit = timedelta(seconds=timeout_s)
    try:
        store = within(timeout_s + _DELAY_S, lambda: _open_store(place, limit))
        dist.init_process_group(
            backend,
            store=PrefixStore(f"attempt-{place.attempt}", store),  # nothing of another one
            rank=place.rank,
            world_size=place.world_size,
            timeout=limit,
        )
    except (RuntimeError, ValueError, TimeoutError) as exc:
        raise explain_absence(place, timeout_s, str(exc).strip()) from exc
    try:
        yield
    except Exception as error:
        # With an error of one rank the others may be gone, and nobody waits for them.
        if is_told_by_main(error):
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _interface_of_gloo(place: Place) -> str | None:
    """Return where gloo is to listen: it would ask for the name of this machine by itself."""
    if place.world_size == place.local_world_size or place.master_addr in LOOPBACK:
        return interface_of(LOOPBACK[0])
    address = address_towards(place.master_addr)
    return None if address is None else interface_of(address)


def _open_store(place: Place, limit: timedelta) -> Store:
    """Return what the ranks meet through."""
    if "TORCHELASTIC_USE_AGENT_STORE" in os.environ:
        found: Store = next(rendezvous("env://", timeout=limit))[0]
        return found
    open_one = serve_store if place.rank == 0 else join_store
    return open_one(place.master_addr, place.master_port, limit, world_size=place.world_size)


def explain_absence(place: Place, timeout_s: float, reason: str) -> TrainerError:
    """Return the error of a rank that did not meet the others; `reason` is torch's."""
    where = f"{place.master_addr}:{place.master_port}"
    if "EADDRINUSE" in reason:
        msg = (
            f"rank {place.rank} cannot listen at {where}, where the ranks meet: another program "
            "has the port; choose another MASTER_PORT"
        )
        return UserError(msg)
    what = reason.splitlines()[0] if reason else "what listens there is no rank of a run"
    msg = (
        f"rank {place.rank} of {place.world_size} cannot meet the others at {where} within "
        f"{timeout_s:g} s: {what}"
    )
    return TrainerError(msg)


def _require_same_experiment(loaded: LoadedExperiment, ranks: ProcessGroupRanks) -> None:
    """Refuse ranks that would train different things.

    Raises:
        UserError: They differ; the message names the first rank that does, and in what.
    """
    plugins = describe_plugins(loaded)
    own = {
        "experiment": _flatten(loaded.config.model_dump(mode="json")),
        "wheels": {name: wheel["version"] for name, wheel in plugins["wheels"].items()},
        "digest": plugins["digest"],
        "torch": torch.__version__,
    }
    digests = ranks.gather(hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest())
    if len(set(digests)) == 1:
        return
    everyone = ranks.gather(own)
    other = next(rank for rank, digest in enumerate(digests) if digest != digests[0])
    differences = _differences(everyone[0], everyone[other])
    msg = f"rank {other} has another experiment than rank 0:\n  {differences}"
    raise tell_by_main(UserError(msg))


def _differences(first: dict[str, Any], other: dict[str, Any]) -> str:
    lines = []
    for part in ("experiment", "wheels"):
        before, after = first[part], other[part]
        lines += [
            f"{key} is {before.get(key)!r} on rank 0 and {after.get(key)!r} there"
            for key in sorted({*before, *after})
            if before.get(key) != after.get(key)
        ]
    if first["torch"] != other["torch"]:
        lines.append(f"torch is {first['torch']} on rank 0 and {other['torch']} there")
    return "\n  ".join(lines[:10] or ["a wheel declares other entry points"])


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, child in tree.items():
        flat |= _flatten(child, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _build_together(loaded: LoadedExperiment, ranks: ProcessGroupRanks) -> Experiment:
    """Build on every rank, and check there what needs all of them."""
    built = _together(ranks, lambda: build_experiment(loaded, ranks))
    if ranks.is_sharded:
        _together(ranks, lambda: _check_together(built))
    return built


def _check_together(built: Experiment) -> None:
    """Check what a rank cannot check alone where each has a part of the weights."""
    from trainer_core.distributed.sharding import require_elementwise  # noqa: PLC0415 - a second of imports

    require_elementwise(built.optimizers)
    check_first_batch(built)


def _together(ranks: ProcessGroupRanks, action: Callable[[], Result]) -> Result:
    """Act on every rank; if one cannot, all of them stop, and nobody waits."""
    result, error = None, None
    try:
        result = action()
    except Exception as exc:  # noqa: BLE001 - told to the others, then raised again
        error = exc
    reports = ranks.gather(None if error is None else describe(error))
    failed = {rank: report for rank, report in enumerate(reports) if report is not None}
    if error is not None:
        raise tell_by_main(error)
    if failed:
        rank = min(failed)
        raise tell_by_main(echo(failed[rank], rank=rank))
    return cast("Result", result)


def _run_alone(
    loaded: LoadedExperiment, *, resume: str | int, hooks: Iterable[object]
) -> RunResult:
    """Train as the only rank, which needs no process group."""
    ranks = LocalRanks()
    out_dir = Path(loaded.config.run.out_dir)
    built = build_experiment(loaded, ranks)
    if loaded.dry_run:
        return RunResult("checked", 0, out_dir=out_dir, report=dry_run(built))
    for hook in hooks:
        built.hooks.add(hook)
    return fit(built, out_dir, ranks=ranks, resume=resume)


class _Beginning:
    """Tells when every rank has come to its loop."""

    def __init__(self, ranks: Ranks, on_begin: Callable[[], None]) -> None:
        self.ranks = ranks
        self.on_begin = on_begin

    @hookimpl
    def trainer_fit_start(self, state: Any) -> None:
        """Meet the others, then tell."""
        del state
        self.ranks.barrier()
        self.on_begin()
