"""Generation A: `plugins`, `model.component_*`, `data.datamodule`, `train`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainer_core.experiment.files import is_file
from trainer_core.experiment.migration.pieces import Piece, mapping, scalar

if TYPE_CHECKING:
    from trainer_core.experiment.migration.report import Report

__all__ = ["convert_first", "is_first"]

_PLUGINS = "components come from installed wheels; 'trainer plugins list' shows them"
_LOADER = "the loader sets this itself"
_UNUSED = "a matter of the runner that trains with several processes"
_UNKNOWN = "there is no such setting any more"
_TRAIN = {
    "load_dir": "a run goes on from its own folder; `weights` of a model takes weights from a file",
    "save_every": "a run saves by time and at its end; cb.model_checkpoint has every_n_steps",
    "model_input": "io.mapping says which parts of a batch the model takes",
}


def is_first(root: Piece) -> bool:
    """Whether a file has the sections of generation A."""
    model, data = root.members.get("model"), root.members.get("data")
    return (
        "train" in root.members
        or (model is not None and any(k.startswith("component_") for k in model.members))
        or (model is not None and "config_path" in model.members)
        or (data is not None and "datamodule" in data.members)
    )


def convert_first(root: Piece, report: Report, old: Path, folder: Path) -> Piece:
    """Return the file with our sections.

    Args:
        root: The old file; it is used up.
        report: Takes what has no counterpart.
        old: The old file's place; its model files are looked for from its folder upwards.
        folder: Where the new file will stand.
    """
    new = mapping(schema_version=scalar(1))
    new.before, new.below = root.before, root.below
    train = report.opened(root.take("train"), "train", new)
    new.members["run"] = _run(train, report, old)
    report.lose(root.take("plugins"), "plugins", _PLUGINS, new)
    if "model" in root.members:
        model = report.opened(root.take("model"), "model", new)
        _add_models(new, model, report, old, folder)
    if "data" in root.members:
        new.members["data"] = _data(report.opened(root.take("data"), "data", new), report)
    for section in ("loss", "optimizer", "scheduler"):
        spec = _spec(train.take(section), f"train.{section}", report)
        if spec is not None:
            new.members[section] = spec
    new.members["trainer"] = _trainer(train, report)
    for key in list(root.members):
        report.lose(root.take(key), key, _UNKNOWN, new)
    return new


def _run(train: Piece, report: Report, old: Path) -> Piece:
    name = train.take("project_name")
    out_dir = train.take("save_dir")
    if out_dir is not None:
        report.note(out_dir, "train.save_dir", "is run.out_dir now, the folder of one run")
    run = mapping(name=name or scalar(old.stem), out_dir=out_dir or Piece("runs/${run.name}"))
    seed = train.take("seed")
    if seed is not None:
        run.members["seed"] = seed
    return run


def _add_models(new: Piece, model: Piece, report: Report, old: Path, folder: Path) -> None:
    """Add `model` or `models`, with what has no counterpart at its end."""
    single = model.take("config_path")
    if single is not None:
        new.members["model"] = target = mapping(config=_moved(single, report, old, folder))
    else:
        new.members["models"] = target = mapping()
        _add_components(target, model, report, old, folder)
    target.before, target.after, target.line = model.before, model.after, model.line
    report.lose(
        model.take("find_unused_parameters"), "model.find_unused_parameters", _UNUSED, target
    )
    for key in list(model.members):
        report.lose(model.take(key), f"model.{key}", _UNKNOWN, target)


def _add_components(models: Piece, model: Piece, report: Report, old: Path, folder: Path) -> None:
    def section(key: str) -> Piece:
        return report.opened(model.take(key), f"model.{key}", models)

    paths = section("component_config_paths")
    settings = section("component_build_args")
    optimizers = section("component_optims")
    for name in dict.fromkeys([*paths.members, *settings.members, *optimizers.members]):
        models.members[name] = component = mapping()
        where = f"model.component_build_args.{name}"
        built = report.opened(settings.take(name), where, component)
        config = paths.take(name)
        parts = mapping(
            config=_moved(config, report, old, folder) if config is not None else None,
            init=built.take("init"),
            freeze=built.take("freeze"),
            optimizer=_spec(optimizers.take(name), f"model.component_optims.{name}", report),
        )
        component.members.update(parts.members)
        component.before += built.before
        for key in list(built.members):
            report.lose(built.take(key), f"{where}.{key}", _UNKNOWN, component)


def _moved(path: Piece, report: Report, old: Path, folder: Path) -> Piece:
    """Write a model file's path as seen from the new file."""
    if not isinstance(path.plain, str):
        report.note(path, "config", "this must be the name of a model file")
        return path
    written = path.plain
    for base in [old.absolute().parent, *old.absolute().parent.parents]:
        if is_file(str(base / written)):
            moved = Path(os.path.relpath(base / written, folder)).as_posix()
            path.value = path.value if moved == written else scalar(moved).value
            return path
    report.note(path, written, "this model file was not found; its path starts at the new file")
    return path


def _spec(old: Piece | None, key: str, report: Report) -> Piece | None:
    """Turn `{type, params}`, or a type alone, into `{_type_, ...parameters}`."""
    if old is None:
        return None
    if isinstance(old.value, str) and isinstance(old.plain, str):
        old = replace(old, value={"type": Piece(old.value, old.line, old.end)})
    spec = mapping(_type_=old.take("type"))
    if not isinstance(old.value, dict):
        report.opened(old, key, spec)
    spec.before, spec.after, spec.line, spec.end = old.before, old.after, old.line, old.end
    spec.is_flow = old.is_flow
    params = report.opened(old.take("params"), f"{key}.params", spec)
    spec.below += params.below
    for name in list(params.members):
        _give(spec, name, params.take(name), f"{key}.params.{name}", report)
    for rest in list(old.members):
        report.lose(old.take(rest), f"{key}.{rest}", _UNKNOWN, spec)
    return spec


def _give(into: Piece, name: str, value: Piece | None, key: str, report: Report) -> None:
    """Add a member; one that is there already stays, and the other is reported."""
    if value is not None and name in into.members:
        report.lose(value, key, f"{name!r} is set a second time", into)
    elif value is not None:
        into.members[name] = value


def _give_engine_key(into: Piece, name: str, value: Piece | None, key: str, report: Report) -> None:
    """Add a key that the engine reads; a component's parameter of that name is reported."""
    if value is not None:
        report.lose(into.take(name), f"{key}.{name}", "the engine's key has this name now", into)
        into.members[name] = value


def _data(old: Piece, report: Report) -> Piece:
    data = _spec(old.take("datamodule"), "data.datamodule", report) or mapping()
    data.before, data.is_flow = [*old.before, *data.before], False
    if "lerobot" in str(data.members.get("_type_", data).plain):
        _count_frames(data, report)
    for key in ("batch_size", "num_workers"):
        _give_engine_key(data, key, old.take(key), "data.datamodule.params", report)
    for key in list(old.members):
        report.lose(old.take(key), f"data.{key}", _LOADER, data)
    return data


def _count_frames(data: Piece, report: Report) -> None:
    """Turn numbers of frames into windows around the present one."""
    windows = mapping()
    for old, key, is_past in (
        ("action_horizon", "action", False),
        ("obs_proprio_history", "observation.state", True),
    ):
        count = data.members.get(old)
        if count is None or not isinstance(count.plain, int):
            continue
        bounds = (1 - count.plain, 1) if is_past else (0, count.plain)
        windows.members[key] = window = Piece([scalar(bound) for bound in bounds], is_flow=True)
        window.before, window.after = count.before, count.after
        report.note(count, f"data.datamodule.params.{old}", f"is the window of {key} now")
        data.take(old)
    if windows.members:
        _give(data, "windows", windows, "data.datamodule.params.action_horizon", report)


def _trainer(train: Piece, report: Report) -> Piece:
    trainer = _spec(train.take("trainer"), "train.trainer", report) or mapping()
    trainer.before, trainer.is_flow = [*train.before, *trainer.before], False
    epoch_key = "epoch" if "epoch" in train.members else "max_epochs"
    epochs, steps = train.take(epoch_key), train.take("max_steps")
    if steps is not None:
        message = "a run has max_steps or max_epochs, not both"
        report.lose(epochs, f"train.{epoch_key}", message, trainer)
        epochs = None
    for key, value in (("max_steps", steps), ("max_epochs", epochs)):
        _give_engine_key(trainer, key, value, "train.trainer.params", report)
    for key in list(train.members):
        report.lose(train.take(key), f"train.{key}", _TRAIN.get(key, _UNKNOWN), trainer)
    return trainer
