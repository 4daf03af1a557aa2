"""What a worker of Ray Train does: one rank of the run."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train

from policy_constructor.errors import ConfigError
from trainer_core.distributed.place import Place
from trainer_core.distributed.reports import describe, is_final
from trainer_core.distributed.worker import resume_after_restart, run_rank
from trainer_core.engine.runfolder import resolved_yaml
from trainer_core.experiment.loading import load_experiment
from trainer_ray.listening import StopListener, forwarded_output
from trainer_ray.mailbox import NAMESPACE
from trainer_ray.options import Options
from trainer_ray.wheels import require_same_wheels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.experiment.loading import LoadedExperiment

__all__ = ["train_func"]


def train_func(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Train as one worker of a `ray.train.torch.TorchTrainer`; for `train_loop_per_worker`.

    Args:
        config: `config`: the experiment as a file, a recipe or data; `overrides`: changes as on
            the command line; `options`: keys of `runner: {_type_: ray}` that concern the worker,
            such as `timeout_s` and `strategy`. Both may be left out.

    Returns:
        `status`, `step`, `metrics`, `evaluation` and `out_dir` of the run.

    Raises:
        ConfigError: Something in the file cannot be had or does not fit.
        TrainerError: The run failed here or on another rank.
    """
    mailbox = _find_mailbox(config.get("mailbox"))
    if mailbox is None:
        return _train(config, None)
    rank = _place().rank
    ray.get(mailbox.start.remote(rank))
    with forwarded_output(mailbox, rank):
        try:
            result = _train(config, mailbox)
        except Exception as error:
            report = describe(error)
            ray.get(mailbox.fail.remote(rank, report))
            if is_final(report):  # trying again would end the same, so Ray must not
                return None
            raise
        if rank == 0:
            ray.get(mailbox.finish.remote(result))
    return result


def _train(config: Mapping[str, Any], mailbox: Any) -> dict[str, Any]:
    """Train as this rank and return the result as plain data."""
    _enter(config)
    loaded = _load(config)
    loaded.dry_run = bool(config.get("dry_run"))
    options = Options(**config.get("options", {}))
    resume = loaded.config.run.resume
    has_begun = mailbox is not None and ray.get(mailbox.has_begun.remote())
    out_dir = Path(loaded.config.run.out_dir)
    listeners = [] if mailbox is None else [StopListener(mailbox)]
    result = run_rank(
        loaded,
        _place(),
        options,
        resume=resume_after_restart(resume, out_dir, has_begun=has_begun),
        on_begin=(lambda: None) if mailbox is None else lambda: ray.get(mailbox.begin.remote()),
        hooks=listeners,
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


def _load(config: Mapping[str, Any]) -> LoadedExperiment:
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
    require_same_wheels(config["wheels"], loaded)
    return loaded


def _find_mailbox(name: str | None) -> Any:
    if name is None:
        return None
    return ray.get_actor(name, namespace=NAMESPACE)
