"""What a worker of Ray Train does: one rank of the run."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train

from policy_constructor.errors import ConfigError
from trainer_core.checkpoint.layout import list_steps
from trainer_core.distributed.place import Place
from trainer_core.distributed.reports import describe, is_final
from trainer_core.distributed.worker import resume_after_restart, run_rank
from trainer_core.engine.runfolder import resolved_yaml
from trainer_core.errors import UserError
from trainer_core.experiment.loading import load_experiment
from trainer_core.storage import to_json_text
from trainer_ray.listening import StopListener, forwarded_output, tied_to_raylet
from trainer_ray.mailbox import NAMESPACE
from trainer_ray.mirroring import mirrored
from trainer_ray.options import Options
from trainer_ray.software import require_same_software

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.experiment.loading import LoadedExperiment

__all__ = ["train_func"]

_SAME_ERROR_S = 3.0
"""How long after an error that no other attempt mends the other ranks may come to theirs."""

_GLANCE_S = 0.1


def train_func(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Train as one worker of a `ray.train.torch.TorchTrainer`; for `train_loop_per_worker`.

    Args:
        config: `config`: the experiment as a file, a recipe or data; `overrides`: changes as on
            the command line; `options`: keys of `runner: {_type_: ray}` that concern the worker,
            such as `timeout_s` and `strategy`. Both may be left out.

    Returns:
        `status`, `step`, `metrics`, `evaluation` and `out_dir` of the run. Ray's `Result` has them
        as its metrics, and as its checkpoint a folder with `pointer.json`, which names ours: Ray
        copies and deletes no weights.

    Raises:
        ConfigError: Something in the file cannot be had or does not fit.
        TrainerError: The run failed here or on another rank.
    """
    with tied_to_raylet():
        mailbox = _find_mailbox(config.get("mailbox"))
        if mailbox is not None:
            return _train_for_driver(config, mailbox)
        outcome = _train(config, None)
        _tell_ray(outcome)
        return outcome


def _train_for_driver(config: Mapping[str, Any], mailbox: Any) -> dict[str, Any] | None:
    """Train and tell the driver how it ended; None if that went wrong for good."""
    rank = _place().rank
    if not ray.get(mailbox.start.remote(rank)):
        return None
    logging.getLogger().setLevel(logging.WARNING)  # as elsewhere: Ray Train shows what all mention
    with forwarded_output(mailbox, rank):
        try:
            result = _train(config, mailbox)
        except Exception as error:
            report = describe(error)
            is_over = is_final(report)
            ray.get(mailbox.fail.remote(rank, report, is_final=is_over))
            if is_over and _all_have_failed(mailbox):  # Ray would only try again
                return None
            raise  # and Ray ends the ranks that wait for this one
        if rank == 0:
            ray.get(mailbox.finish.remote(result))
    return result


def _tell_ray(outcome: Mapping[str, Any]) -> None:
    """Report once, at the end: each report waits for all ranks and for Ray's next look at them."""
    told = {**outcome["metrics"], **outcome["evaluation"]}
    told |= {name: outcome[name] for name in ("status", "step", "out_dir")}
    with tempfile.TemporaryDirectory(prefix="trainer-ray-") as folder:
        pointer = None
        if _place().rank == 0:
            steps = list_steps(Path(outcome["out_dir"]) / "checkpoints")
            newest = {"checkpoint": str(steps[0][1].absolute()) if steps else None}
            (Path(folder) / "pointer.json").write_text(to_json_text({**newest, **told}))
            pointer = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(told, checkpoint=pointer)


def _all_have_failed(mailbox: Any) -> bool:
    """Return whether every rank has come to an error, which most find out together."""
    world_size = _place().world_size
    deadline = time.monotonic() + _SAME_ERROR_S
    while ray.get(mailbox.failures.remote()) < world_size:
        if time.monotonic() > deadline:
            return False
        time.sleep(_GLANCE_S)
    return True


def _train(config: Mapping[str, Any], mailbox: Any) -> dict[str, Any]:
    """Train as this rank and return the result as plain data."""
    _enter(config)
    has_begun = mailbox is not None and ray.get(mailbox.has_begun.remote())
    loaded = _load(config, has_begun=has_begun)
    loaded.dry_run = bool(config.get("dry_run"))
    options = Options(**config.get("options", {}))
    out_dir, place = Path(loaded.config.run.out_dir), _place()
    resume = loaded.config.run.resume
    listeners: list[Any] = [] if mailbox is None else [StopListener(mailbox)]
    with mirrored(options, out_dir, place, resume, has_begun=has_begun) as mirroring:
        result = run_rank(
            loaded,
            place,
            options,
            resume=resume_after_restart(resume, out_dir, has_begun=has_begun),
            on_begin=(lambda: None) if mailbox is None else lambda: ray.get(mailbox.begin.remote()),
            hooks=[*listeners, *mirroring],
        )
    return {**asdict(result), "out_dir": str(result.out_dir)}


def _place() -> Place:
    """Return which rank Ray made of this process."""
    context = ray.train.get_context()
    return Place(
        rank=context.get_world_rank(),
        local_rank=context.get_local_rank(),
        world_size=context.get_world_size(),
        local_world_size=context.get_local_world_size(),
        master_addr=os.environ.get("MASTER_ADDR", "127.0.0.1"),
        master_port=int(os.environ.get("MASTER_PORT", "0")),
    )


def _enter(config: Mapping[str, Any]) -> None:
    """Go where the driver is, as far as this machine has the same folders."""
    sys.path += [path for path in config.get("path", ()) if path not in sys.path]
    folder = config.get("folder")
    if folder:
        with suppress(OSError):
            os.chdir(folder)


def _load(config: Mapping[str, Any], *, has_begun: bool) -> LoadedExperiment:
    """Load the experiment from its own file where that is the same here, else from its text."""
    source, overrides = config["config"], config.get("overrides", ())
    text = config.get("text")
    if text is None:
        return load_experiment(source, overrides)
    loaded = None
    with suppress(ConfigError):
        loaded = load_experiment(source, overrides, runner=config["runner"], hooks=True)
    if loaded is None or resolved_yaml(loaded) != text:
        with tempfile.TemporaryDirectory(prefix="trainer-ray-") as folder:
            file = Path(folder) / "config.resolved.yaml"
            file.write_text(text, encoding="utf-8")
            loaded = load_experiment(file, hooks=True)
    try:
        require_same_software(config["software"], loaded)
    except UserError as error:
        if not has_begun:
            raise
        sys.stderr.write(f"warning: since the run was started, it has changed: {error}\n")
    return loaded


def _find_mailbox(name: str | None) -> Any:
    if name is None:
        return None
    return ray.get_actor(name, namespace=NAMESPACE)
