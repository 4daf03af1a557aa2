"""Demonstrations by Meta-World's scripted policies, recorded as a LeRobotDataset."""

from __future__ import annotations

import json
import shutil
import time
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.durable import claim_staging, is_unused
from experiments_il.sim.metaworld_env import (
    ACTION_DIM,
    FPS,
    GOALS_PER_SEED,
    make_env,
    require_metaworld,
)
from experiments_il.sim.recorded import RECORDED_COLUMNS
from trainer_core.errors import DatasetError, StorageError, UserError
from trainer_core.storage import flush_to_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "RECORDING_PATH",
    "Recording",
    "RecordingProgress",
    "record_demonstrations",
]

RECORDING_PATH = "meta/recording.json"
MAX_STEPS = 300
STEPS_AFTER_SUCCESS = 5
_MAX_FAILED = 20  # and as many again as episodes were asked for: then the task is beyond its script


@dataclass(frozen=True, slots=True)
class RecordingProgress:
    """How far a recording is.

    Attributes:
        episodes: Episodes kept.
        total: Episodes asked for.
        frames: Frames of the episodes kept.
        dropped: Episodes that did not succeed and were dropped.
    """

    episodes: int
    total: int
    frames: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Recording:
    """What was recorded and how; kept in `meta/recording.json`.

    Attributes:
        task: Meta-World name.
        episodes: Episodes kept.
        noise: Standard deviation of the action noise.
        seed: Seed of the goals and of the noise.
        frames: Frames of all episodes.
        dropped: Episodes that did not succeed.
        wall_s: Seconds it took.
    """

    task: str
    episodes: int
    noise: float
    seed: int
    frames: int
    dropped: int
    wall_s: float


def record_demonstrations(
    task: str,
    episodes: int,
    out: Path,
    *,
    noise: float = 0.0,
    seed: int = 0,
    progress: Callable[[RecordingProgress], None] = lambda _progress: None,
) -> Recording:
    """Record demonstrations of a scripted policy into a new data set.

    An episode ends 5 steps after its first success; one without success in 300 steps is dropped
    and counted. The data set appears under its name when it is whole: an interruption leaves
    nothing. Episode k is a function of `(task, seed, noise, k)`.

    Args:
        task: A Meta-World v3 name such as `pick-place-v3`.
        episodes: Successful episodes to record.
        out: Folder of the data set: not there yet, or empty.
        noise: Standard deviation of Gaussian noise on the executed action, while the policy's own
            action is recorded: the data then shows how to recover. Actions lie in [-1, 1]; 0 is
            none, 0.1 usual, above 0.5 most tasks fail.
        seed: Seed of the goals and of the noise. Evaluate with another one.
        progress: Called after each episode.

    Raises:
        MissingPackageError: Meta-World or pyarrow is not installed.
        UserError: There is no such task, a number is out of range, or its script fails too often.
        DatasetError: `out` is in use.
        StorageError: The disk refuses.
    """
    began = time.perf_counter()
    out = out.expanduser().resolve()
    _check_request(episodes, noise, out)
    require_metaworld("recording demonstrations")
    # pyarrow is an optional package, needed from here on.
    from experiments_il.data.writer import LeRobotWriter  # noqa: PLC0415 - see above

    done = RecordingProgress(0, episodes, 0, 0)
    demonstrations = _Demonstrations(task, seed, noise)
    staging = _claim(out)
    try:
        features = RECORDED_COLUMNS
        with LeRobotWriter.create(
            staging, fps=FPS, features=features, robot_type="sawyer"
        ) as writer:
            while done.episodes < episodes:
                _require_success(task, done)
                frames = demonstrations.play(done.episodes + done.dropped)
                if frames is None:
                    done = RecordingProgress(done.episodes, episodes, done.frames, done.dropped + 1)
                else:
                    writer.add_episode(frames, task)
                    length = done.frames + len(frames["action"])
                    done = RecordingProgress(done.episodes + 1, episodes, length, done.dropped)
                progress(done)
        wall_s = round(time.perf_counter() - began, 3)
        recording = Recording(task, episodes, noise, seed, done.frames, done.dropped, wall_s)
        _publish(staging, out, recording)
    finally:
        demonstrations.close()
        shutil.rmtree(staging, ignore_errors=True)
    return recording


class _Demonstrations:
    """Plays the scripted policy, one goal after the other; a new environment every 50 goals."""

    def __init__(self, task: str, seed: int, noise: float) -> None:
        self._task = task
        self._seed = seed
        self._noise = noise
        self._env: Any = None
        self._block = -1
        self._open(0)
        from metaworld.policies import ENV_POLICY_MAP  # noqa: PLC0415 - optional package

        self._policy_class: Any = ENV_POLICY_MAP[task]

    def play(self, attempt: int) -> dict[str, NDArray[Any]] | None:
        """Return the frames of one episode by feature, or None if it did not succeed."""
        block, goal = divmod(attempt, GOALS_PER_SEED)
        if block != self._block:
            self._open(block)
        random = np.random.default_rng((self._seed, attempt))
        policy = self._policy_class()
        rows: dict[str, list[Any]] = {name: [] for name in RECORDED_COLUMNS}
        last = MAX_STEPS - 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scripts exceed the action range; it is clipped here
            state, _info = self._env.reset(options={"episode": goal})
            for step in range(MAX_STEPS):
                action = np.clip(policy.get_action(state), -1, 1).astype(np.float32)
                executed = np.clip(action + self._noise * random.standard_normal(ACTION_DIM), -1, 1)
                rows["observation.state"].append(np.array(state, np.float32))
                rows["action"].append(action)
                state, reward, _terminated, truncated, info = self._env.step(executed)
                rows["next.reward"].append(reward)
                rows["next.success"].append(bool(info["success"]))
                if info["success"] and last == MAX_STEPS - 1:
                    last = min(step + STEPS_AFTER_SUCCESS, MAX_STEPS - 1)
                rows["next.done"].append(step == last or truncated)
                if step == last or truncated:
                    break
        if not any(rows["next.success"]):
            return None
        return {name: np.array(rows[name], RECORDED_COLUMNS[name]["dtype"]) for name in rows}

    def close(self) -> None:
        """Close the simulator."""
        if self._env is not None:
            self._env.close()

    def _open(self, block: int) -> None:
        self.close()
        self._env = make_env(self._task, self._seed + block)
        self._block = block


def _check_request(episodes: int, noise: float, out: Path) -> None:
    if episodes < 1:
        message = f"episodes must be at least 1, got {episodes}"
        raise UserError(message)
    if not 0 <= noise < float("inf"):
        message = f"noise must be a number of at least 0, got {noise}"
        raise UserError(message)
    if not is_unused(out):
        message = f"{out}: already exists and is not empty; choose another folder, or remove it"
        raise DatasetError(message)


def _require_success(task: str, done: RecordingProgress) -> None:
    if done.dropped >= done.total + _MAX_FAILED:
        message = (
            f"the scripted policy of '{task}' failed {done.dropped} times and succeeded "
            f"{done.episodes} times; nothing was recorded. Less noise may help"
        )
        raise UserError(message)


def _claim(out: Path) -> Path:
    """Return a folder beside `out` to record into."""
    try:
        return claim_staging(out.parent, f".{out.name}.recording-")
    except OSError as exc:
        message = f"{out}: cannot be written: {exc.filename}: {exc.strerror}"
        raise StorageError(message) from exc


def _publish(staging: Path, out: Path, recording: Recording) -> None:
    """Add the recording's description and give the finished data set its name."""
    description: Mapping[str, Any] = {"version": 1, "simulator": "metaworld", **asdict(recording)}
    try:
        path = staging / RECORDING_PATH
        path.write_text(json.dumps(description, indent=4) + "\n", encoding="utf-8")
        flush_to_disk(path)
        if out.is_dir():
            shutil.rmtree(out)  # empty, or what a killed writer left: checked above
        staging.rename(out)
        flush_to_disk(out.parent)
    except OSError as exc:
        message = f"{out}: cannot be written: {exc.strerror}"
        raise StorageError(message) from exc
