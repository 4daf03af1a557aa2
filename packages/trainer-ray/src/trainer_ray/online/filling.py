"""Waiting until the replay buffer has enough to learn from, and saying why it has not."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from trainer_core.errors import TrainerError
from trainer_core.storage import make_folder, storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TextIO

    from trainer_core.engine.state import RunState
    from trainer_ray.online.options import Options
    from trainer_ray.online.supervision import Supervisor

__all__ = ["WaitLines", "set_aside", "wait_for_frames"]

_GLANCE_S = 0.1
_LINE_S = 10.0


class WaitLines:
    """Writes at once, and then every ten seconds, how far a wait is; also where it is not further.

    Args:
        stream: Where. One that can no longer be written is left alone.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = 0.0

    def __call__(self, done: int, total: int, text: str, name: str) -> None:
        """Take the newest state."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_S
            with suppress(OSError, ValueError):
                self._stream.write(f"{name} {done}/{total} {text}\n")
                self._stream.flush()


def wait_for_frames(
    state: RunState,
    supervisor: Supervisor,
    options: Options,
    *,
    show: Callable[..., None],
    elapsed_s: Callable[[], float],
) -> bool:
    """Wait until the buffer has enough; return whether it has, and the run is to go on.

    Args:
        state: The run; a signal or `max_time_s` ends the waiting.
        supervisor: Knows what is in the buffer.
        options: How much is enough, and how long to wait for it.
        show: Shows how far it is, as `state.track`.
        elapsed_s: Returns how long the run has taken, in seconds.

    Raises:
        TrainerError: There is not enough in time, or nobody plays any more.
    """
    deadline = time.monotonic() + options.fill_timeout_s
    limit_s = state.experiment.settings.max_time_s
    while True:
        frames = int(supervisor.buffer.get("frames", 0))
        if frames >= options.min_frames:
            return True
        if state.interrupted() or (limit_s is not None and elapsed_s() >= limit_s):
            return False
        supervisor.check()
        text = _tell_episodes(supervisor)
        if time.monotonic() > deadline:
            raise TrainerError(_explain(options, frames, text))
        state.beat()
        if supervisor.buffer:  # else it is not known yet
            show(frames, options.min_frames, f"frames; {text}", "replay buffer")
        time.sleep(_GLANCE_S)


def set_aside(out_dir: Path) -> None:
    """Move the episodes of an earlier run away: another one begins anew in its folder.

    Raises:
        StorageError: They cannot be moved.
    """
    replay, number = out_dir / "replay", 1
    if not replay.exists():
        return
    while (target := out_dir / "previous" / f"replay-{number:03d}").exists():
        number += 1
    make_folder(target.parent)
    with storage_errors(target):
        replay.rename(target)


def _tell_episodes(supervisor: Supervisor) -> str:
    described = supervisor.buffer
    successes = int(described.get("successes", 0))
    came = successes + int(described.get("failures", 0))
    refused = int(described.get("refused", 0))
    text = f"{came} episodes came, {successes} of them succeeded"
    text += f", {refused} were refused" if refused else ""
    text += f", the newest one of {newest}" if (newest := described.get("refusal")) else ""
    text += f"; {error}" if (error := described.get("disk_error")) else ""
    return text + (f"; {supervisor.last_error}" if supervisor.last_error else "")


def _explain(options: Options, frames: int, text: str) -> str:
    kept = "; keep: successes keeps only these" if options.keep == "successes" else ""
    return (
        f"the replay buffer has {frames} of {options.min_frames} frames after "
        f"{options.fill_timeout_s:g} s (fill_timeout_s): {text}{kept}.\n  Begin with a better "
        "policy (offline_steps, or weights: of a component), wait longer, or lower min_frames"
    )
