"""What the file of a chunk policy must agree on; without torch and numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainer_core.protocols import BatchReport, FileView

__all__ = ["check", "check_components", "check_sizes"]

_OF_ACTIONS = ("action_decoder", "posterior", "action_vae")
_OF_STATES = ("state_encoder", "state_vae")


def check(parameters: Mapping[str, Any], report: BatchReport, view: FileView) -> None:
    """Report cameras and components that there are not, and sizes that do not fit the data.

    Args:
        parameters: Those of the trainer.
        report: Receives what is wrong.
        view: The file.
    """
    cameras = parameters.get("cameras") or {}
    augment = parameters.get("augment")
    if isinstance(augment, dict) and "_type_" not in augment:
        for key in augment:
            if key not in cameras:
                there = ", ".join(cameras) or "none"
                message = f"{key!r} is no camera of this policy; trainer.cameras has {there}"
                report(("trainer", "augment", key), message, nearest(key, cameras), on="key")
    elif augment is not None and not cameras:
        message = "there are no images to change: augment needs trainer.cameras"
        report(("trainer", "augment"), message)
    _check_steps(parameters, report, view)
    check_components(parameters, report, view)
    check_sizes(parameters, report, view)


def _check_steps(parameters: Mapping[str, Any], report: BatchReport, view: FileView) -> None:
    """Report more actions between two plans than a chunk has."""
    horizon = _kwargs(view, _OF_ACTIONS[0]).get("horizon")
    steps, offset = parameters.get("n_action_steps"), parameters.get("action_offset")
    if parameters.get("execution") != "receding_horizon":
        return
    if type(horizon) is int and type(steps) is int and type(offset) is int:
        usable = horizon + offset
        if steps > usable:
            message = (
                f"a chunk has {usable} actions from the current frame on (horizon {horizon} of "
                f"models.action_decoder, action_offset {offset}), found {steps}"
            )
            report(("trainer", "n_action_steps"), message)


def check_components(parameters: Mapping[str, Any], report: BatchReport, view: FileView) -> None:
    """Report components that `cameras` and `depth_models` name and `models` has not."""
    models = view.sections.get("models") or {}
    for parameter in ("cameras", "depth_models"):
        for key, name in (parameters.get(parameter) or {}).items():
            if name not in models:
                message = f"there is no component {name!r} in models; it has {', '.join(models)}"
                near = nearest(str(name), models)
                report(("trainer", parameter, key), message, near, on="value")


def check_sizes(parameters: Mapping[str, Any], report: BatchReport, view: FileView) -> None:
    """Report components whose sizes are not those of the batches."""
    batches = view.batches or {}
    action, state = str(parameters.get("action_key")), str(parameters.get("state_key"))
    chunk, seen = batches.get(action), batches.get(state)
    has_window = f"{action}_is_pad" in batches
    horizon = _kwargs(view, _OF_ACTIONS[0]).get("horizon")
    if chunk is not None and len(chunk) < 2 and not has_window and type(horizon) is int:
        message = f"{action!r} has no window, and chunks are learned: {action}: [0, {horizon}]"
        report(("data", *(("windows",) if _windows(view) else ())), message, on="key")
    elif chunk is not None and len(chunk) == 2:
        _check_size(view, _OF_ACTIONS, "horizon", chunk[0], f"data.windows.{action} has", report)
        _check_size(
            view, _OF_ACTIONS, "action_dim", chunk[1], f"{action!r} of the data has", report
        )
    if seen is not None and 1 <= len(seen) <= 2:
        frames = seen[0] if len(seen) == 2 else 1
        said = f"{state!r} of the data has"
        _check_size(view, _OF_STATES, "state_dim", seen[-1], said, report)
        said = f"{state!r} comes with this many frames (data.windows):"
        _check_size(view, _OF_STATES, "n_obs_steps", frames, said, report)


def _check_size(
    view: FileView,
    components: Sequence[str],
    size: str,
    found: int,
    said: str,
    report: BatchReport,
) -> None:
    """Report once the components that have another size than is found in the batches."""
    given = {name: _kwargs(view, name).get(size) for name in components}
    wrong = [name for name, own in given.items() if type(own) is int and own != found]
    if wrong:
        names = " and ".join(wrong)
        verb = "has" if len(wrong) == 1 else "have"
        message = f"{names} {verb} {size} {given[wrong[0]]}, {said} {found}"
        report(_place(view, wrong[0], size), message)


def _windows(view: FileView) -> bool:
    return bool((view.sections.get("data") or {}).get("windows"))


def _kwargs(view: FileView, name: str) -> Mapping[str, Any]:
    block = view.blocks.get(name)
    return {} if block is None else block.kwargs


def _place(view: FileView, name: str, size: str) -> tuple[str, ...]:
    """Return where a component's size is decided: its own key, its parameter, or itself."""
    component = (view.sections.get("models") or {}).get(name) or {}
    if size in component:
        return ("models", name, size)
    params = component.get("params")
    if not params:
        return ("models", name)
    return ("models", name, "params", *((size,) if size in params else ()))
