"""Demonstrations by scripted experts, recorded as a LeRobotDataset."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.durable import claim_staging, is_unused
from experiments_il.sim.simulators import METAWORLD, Simulator, check_cameras
from trainer_core.errors import DatasetError, StorageError, UserError
from trainer_core.storage import flush_to_disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from experiments_il.sim.environment import Environment

__all__ = [
    "RECORDING_PATH",
    "Recording",
    "RecordingPlan",
    "RecordingProgress",
    "record_demonstrations",
]

RECORDING_PATH = "meta/recording.json"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingPlan:
    """What to record, and how.

    Attributes:
        task: Name of the task.
        episodes: Successful episodes to record.
        simulator: Where.
        noise: Standard deviation of Gaussian noise on the executed action, relative to half the
            range of actions, while the expert's own action is recorded: the data then shows how to
            recover.
        seed: Seed of the episodes and of the noise. Evaluate with another one.
        expert: Name of the expert that demonstrates.
        cameras: Key of an observation to the name of the camera whose picture it holds.
        image_size: Height and width of these pictures.
    """

    task: str
    episodes: int
    simulator: Simulator = METAWORLD
    noise: float = 0.0
    seed: int = 0
    expert: str = "scripted"
    cameras: dict[str, str] = field(default_factory=dict)
    image_size: tuple[int, int] = (64, 64)

    def to_json(self) -> dict[str, Any]:
        """Return what `meta/recording.json` tells of it."""
        request = {
            "simulator": self.simulator.name,
            "task": self.task,
            "episodes": self.episodes,
            "noise": self.noise,
            "seed": self.seed,
            "expert": self.expert,
        }
        pictures = {"cameras": self.cameras, "image_size": list(self.image_size)}
        return request | (pictures if self.cameras else {})


@dataclass(frozen=True, slots=True)
class Recording:
    """What was recorded; kept in `meta/recording.json` together with the plan.

    Attributes:
        episodes: Episodes kept.
        frames: Frames of all episodes.
        dropped: Episodes that did not succeed.
        wall_s: Seconds it took.
    """

    episodes: int
    frames: int
    dropped: int
    wall_s: float


def record_demonstrations(
    plan: RecordingPlan,
    out: Path,
    progress: Callable[[RecordingProgress], None] = lambda _progress: None,
) -> Recording:
    """Record demonstrations of a scripted expert into a new data set.

    An episode ends 5 steps after its first success; one that does not succeed in
    `simulator.recording_steps` is dropped and counted. The data set appears under its name when it
    is whole: an interruption leaves nothing. Episode k is a function of `(task, seed, noise,
    expert, k)`.

    Args:
        plan: What to record.
        out: Folder of the data set: not there yet, or empty.
        progress: Called after each episode.

    Raises:
        MissingPackageError: The simulator or pyarrow is not installed.
        UserError: There is no such task, expert or camera, a number is out of range, the expert
            fails too often, or pictures cannot be drawn here.
        DatasetError: `out` is in use.
        StorageError: The disk refuses.
    """
    began = time.perf_counter()
    out = out.expanduser().resolve()
    _check_plan(plan, out)
    make_expert = plan.simulator.expert_factory(plan.expert)
    demonstrations = _Demonstrations(plan, make_expert)
    # pyarrow is an optional package, needed from here on.
    from experiments_il.data.writer import LeRobotWriter  # noqa: PLC0415 - see above

    done = RecordingProgress(0, plan.episodes, 0, 0)
    staging = _claim(out)
    try:
        with LeRobotWriter.create(
            staging,
            fps=plan.simulator.fps,
            features=demonstrations.columns,
            robot_type=plan.simulator.robot,
        ) as writer:
            while done.episodes < plan.episodes:
                _require_success(plan.task, done)
                frames = demonstrations.play(done.episodes + done.dropped)
                dropped, length = done.dropped + 1, done.frames
                if frames is not None:
                    writer.add_episode(frames, plan.task)
                    dropped, length = done.dropped, done.frames + len(frames["action"])
                kept = done.episodes + (frames is not None)
                done = RecordingProgress(kept, plan.episodes, length, dropped)
                progress(done)
        wall_s = round(time.perf_counter() - began, 3)
        recording = Recording(plan.episodes, done.frames, done.dropped, wall_s)
        _publish(staging, out, plan, recording)
    finally:
        demonstrations.close()
        shutil.rmtree(staging, ignore_errors=True)
    return recording


class _Demonstrations:
    """Plays the expert, one episode after the other; a new environment where a seed's are over."""

    def __init__(self, plan: RecordingPlan, make_expert: Any) -> None:
        self._plan = plan
        self._make_expert = make_expert
        self.columns = plan.simulator.columns(plan.task, plan.cameras, plan.image_size)
        self._block = -1
        self._environment: Environment | None = None
        self._open(0)

    def play(self, attempt: int) -> dict[str, NDArray[Any]] | None:
        """Return the frames of one episode by feature, or None if it did not succeed."""
        per_seed = self._plan.simulator.episodes_per_seed
        block, episode = divmod(attempt, per_seed) if per_seed else (0, attempt)
        environment = self._open(block)
        seed = self._plan.seed
        random = np.random.default_rng((seed, attempt))
        observation = environment.reset(episode)
        expert = self._make_expert(environment, np.random.default_rng((seed, attempt, 1)))
        low, high = environment.action_low, environment.action_high
        noise = self._plan.noise * (high - low) / 2
        rows: dict[str, list[Any]] = {name: [] for name in self.columns}
        last = limit = self._plan.simulator.recording_steps - 1
        for step in range(limit + 1):
            action = np.clip(expert(environment.state), low, high).astype(np.float32)
            executed = action + noise * random.standard_normal(environment.action_dim)
            _append(rows, observation)
            rows["action"].append(action)
            observation, reward, success, done = environment.step(np.clip(executed, low, high))
            rows["next.reward"].append(reward)
            rows["next.success"].append(success)
            if success and last == limit:
                last = min(step + STEPS_AFTER_SUCCESS, limit)
            is_last = step == last or done
            rows["next.done"].append(is_last)
            if is_last:
                break
        if not any(rows["next.success"]):
            return None
        return {name: _to_column(rows[name], spec["dtype"]) for name, spec in self.columns.items()}

    def close(self) -> None:
        """Close the simulator."""
        if self._environment is not None:
            self._environment.close()

    def _open(self, block: int) -> Environment:
        if block == self._block and self._environment is not None:
            return self._environment
        self.close()
        plan = self._plan
        self._environment = plan.simulator.make(
            plan.task, plan.seed + block, cameras=plan.cameras, image_size=plan.image_size
        )
        self._block = block
        return self._environment


def _append(rows: dict[str, list[Any]], observation: Any) -> None:
    for name, value in observation.items():
        if name in rows:
            rows[name].append(value)


def _to_column(rows: list[Any], dtype: str) -> NDArray[Any]:
    """Return the frames of one column; pictures with their channels last, as they are written."""
    if dtype == "image":
        return np.stack(rows).transpose(0, 2, 3, 1)
    return np.array(rows, dtype)


def _check_plan(plan: RecordingPlan, out: Path) -> None:
    if plan.episodes < 1:
        message = f"episodes must be at least 1, got {plan.episodes}"
        raise UserError(message)
    if not 0 <= plan.noise < float("inf"):
        message = f"noise must be a number of at least 0, got {plan.noise}"
        raise UserError(message)
    check_cameras(plan.simulator, plan.cameras, plan.image_size)
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


def _publish(staging: Path, out: Path, plan: RecordingPlan, recording: Recording) -> None:
    """Add the recording's description and give the finished data set its name."""
    found = {name: getattr(recording, name) for name in ("frames", "dropped", "wall_s")}
    description = {"version": 1} | plan.to_json() | found
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
