"""The hooks that installed plugins and the callbacks of a file may implement.

Mark an implementation with `trainer_core.hookimpl`. It may take any subset of a hook's arguments,
by name. `state` is the engine's `trainer_core.engine.state.RunState`. Hooks run on every rank,
in the order of the plugins' names, unless it says "rank 0" below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trainer_core.discovery.registrar import Registrar
    from trainer_core.experiment.schema import ExperimentConfig

__all__ = [
    "PROJECT",
    "hookimpl",
    "hookspec",
    "trainer_checkpoint_load",
    "trainer_checkpoint_save",
    "trainer_config_resolved",
    "trainer_configure",
    "trainer_epoch_end",
    "trainer_epoch_start",
    "trainer_evaluation_end",
    "trainer_evaluation_start",
    "trainer_exception",
    "trainer_fit_end",
    "trainer_fit_start",
    "trainer_log",
    "trainer_measured",
    "trainer_model_built",
    "trainer_register_components",
    "trainer_select_runner",
    "trainer_step_end",
]

PROJECT = "trainer"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def trainer_register_components(registrar: Registrar) -> None:
    """Add components that no entry point can name, as lazy references.

    Called when a key is not found among the entry points. Nothing may be imported here that the
    reference itself would import.

    Args:
        registrar: `registrar.add("loss", "mine", "my_package.losses:Mine")`.
    """


@hookspec
def trainer_config_resolved(config: dict[str, Any]) -> dict[str, Any] | None:
    """Return a changed copy of the resolved file, or None to leave it.

    Called before the file is validated; what is returned is validated like the file itself.

    Args:
        config: The resolved file as plain dicts, lists and scalars.
    """


@hookspec
def trainer_configure(config: ExperimentConfig, run: Mapping[str, Any]) -> None:
    """Prepare for a run that was validated and is about to start.

    Args:
        config: The validated experiment.
        run: `name`, `out_dir`, `rank`, `world_size`.
    """


@hookspec(firstresult=True)
def trainer_select_runner(config: ExperimentConfig) -> str | None:
    """Return the runner's name to use instead of the file's, or None; the first answer counts.

    Args:
        config: The validated experiment.
    """


@hookspec
def trainer_model_built(models: Mapping[str, Any], config: ExperimentConfig) -> None:
    """See or change the models: built, with their weights, not yet on their device or wrapped.

    Args:
        models: The components by name (an `nn.ModuleDict`).
        config: The validated experiment.
    """


@hookspec
def trainer_fit_start(state: Any) -> None:
    """Prepare for the loop: everything is built and a checkpoint, if any, is loaded."""


@hookspec
def trainer_epoch_start(state: Any) -> None:
    """Act before the first step of a pass over the data."""


@hookspec
def trainer_epoch_end(state: Any) -> None:
    """Act after the last step of a pass over the data, validation included."""


@hookspec
def trainer_step_end(state: Any, logs: Mapping[str, Any]) -> None:
    """Act after each optimizer step; the only hook of the hot path.

    Args:
        state: The run; `state.step` counts the step that just ended.
        logs: The step's metrics, as scalar tensors still on the device. Reading a value waits
            for the device.
    """


@hookspec
def trainer_evaluation_start(state: Any) -> None:
    """Act before validation or an evaluation, for example to put averaged weights in place.

    Every rank is here, also where rank 0 then evaluates alone.
    """


@hookspec
def trainer_evaluation_end(state: Any, metrics: Mapping[str, Any]) -> None:
    """Act after validation or an evaluation, on every rank.

    Args:
        state: The run.
        metrics: What was measured, as numbers.
    """


@hookspec
def trainer_measured(state: Any, metrics: Mapping[str, Any]) -> None:
    """Decide on what was measured, such as to stop: every rank is here, after the measurement.

    Called after each validation and evaluation, with the training's weights back in place; and by
    a run that goes on from a checkpoint whose evaluation an earlier process had finished.

    Args:
        state: The run. `state.ranks.any` makes the decision of one rank that of all.
        metrics: What was measured, as numbers: `val/...` or `eval/...`. Empty if it was
            interrupted.
    """


@hookspec
def trainer_checkpoint_save(state: Any, payload: dict[str, Any], path: Path) -> None:
    """Add a plugin's state to a checkpoint; rank 0.

    Args:
        state: The run. `state.add_to_checkpoint(file, tensors)` adds a safetensors file; its
            tensors are copied now and written while the training goes on. Tensors of which each
            rank has a part (`strategy: fsdp`) are named before, in `state.sharded`.
        payload: Data that is saved with the checkpoint. Put yours under your plugin's name:
            JSON values, and tensors in flat dicts.
        path: The checkpoint's folder while it is written; further files put there are covered by
            its manifest.
    """


@hookspec
def trainer_checkpoint_load(state: Any, payload: Mapping[str, Any], path: Path) -> None:
    """Take a plugin's state back from a checkpoint.

    Args:
        state: The run, with its weights loaded.
        payload: What the hooks of `trainer_checkpoint_save` left there.
        path: The checkpoint's folder, verified.
    """


@hookspec
def trainer_log(metrics: Mapping[str, float], step: int) -> None:
    """Receive the metrics of a logged step; rank 0.

    A plugin that raises here is reported once and not called again.
    """


@hookspec
def trainer_exception(state: Any, exc: BaseException) -> None:
    """Hear of an exception that ends the run, before it is raised again.

    A plugin that raises here is reported once and not called again.
    """


@hookspec
def trainer_fit_end(state: Any, status: str) -> None:
    """Close what `trainer_fit_start` opened.

    Args:
        state: The run.
        status: `completed`, `interrupted` or `failed`.
    """
