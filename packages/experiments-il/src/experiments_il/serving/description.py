"""What a server tells of its policy when a client connects. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from experiments_il.frames import frame_shape
from trainer_core.checkpoint.data_description import described_keys
from trainer_core.checkpoint.layout import MANIFEST, STATE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from experiments_il.loading import LoadedPolicy

__all__ = ["ObservationSpec", "PolicyDescription", "describe_loaded", "describe_program"]

PROTOCOL = 1
IGNORED_KEYS = ("prompt",)
"""What openpi's examples send and these policies do not read."""


@dataclass(frozen=True)
class ObservationSpec:
    """One frame of an observation.

    Attributes:
        shape: Without history and batch; None if the checkpoint does not tell.
        dtype: Name of the dtype; None if the checkpoint does not tell.
    """

    shape: tuple[int, ...] | None = None
    dtype: str | None = None


@dataclass(frozen=True)
class PolicyDescription:
    """A policy as its clients have to know it.

    Attributes:
        observation: What it reads, by key.
        horizon: Actions of a chunk H, those before the current frame included.
        action_dim: Dimensions A of an action.
        n_obs_steps: Frames of the history.
        n_action_steps: Actions that are executed before the next chunk is asked for.
        action_offset: Frame of a chunk's first action; earlier ones than the current frame's are
            not sent.
        noise_shape: Of the noise of one chunk.
        fps: Frames per second of the data set; None if unknown.
        about: `name`, `trainer`, `step`, `weights`, `digest` (sha256) of what is served.
    """

    observation: dict[str, ObservationSpec]
    horizon: int
    action_dim: int
    n_obs_steps: int = 1
    n_action_steps: int = 8
    action_offset: int = 0
    noise_shape: tuple[int, ...] = ()
    fps: float | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def sent_actions(self) -> int:
        """Actions of an answer: from that of the current frame on."""
        return self.horizon + self.action_offset

    def metadata(self) -> dict[str, Any]:
        """Return the first message of a connection."""
        return {
            "server": "experiments-il",
            "protocol": PROTOCOL,
            **self.about,
            "observation": {
                key: {
                    "shape": None if spec.shape is None else list(spec.shape),
                    "dtype": spec.dtype,
                }
                for key, spec in self.observation.items()
            },
            "ignored_keys": list(IGNORED_KEYS),
            "n_obs_steps": self.n_obs_steps,
            "action_horizon": self.sent_actions,
            "action_dim": self.action_dim,
            "n_action_steps": self.n_action_steps,
            "action_offset": self.action_offset,
            "fps": self.fps,
        }


def describe_loaded(loaded: LoadedPolicy) -> PolicyDescription:
    """Return the description of a run's, a checkpoint's or an export's policy."""
    source = loaded.source
    state = source.folder / STATE
    content = json.loads(state.read_bytes()) if state.is_file() else source.config
    data = content.get("data") or {}
    keys = described_keys(data, loaded.normalizer.to_json())
    policy = loaded.policy
    manifest = source.folder / (MANIFEST if state.is_file() else "policy.json")
    return PolicyDescription(
        {key: _spec(keys.get(key), policy.chunk.n_obs_steps) for key in policy.observation_keys},
        policy.horizon,
        policy.action_dim,
        policy.chunk.n_obs_steps,
        policy.chunk.n_action_steps,
        policy.chunk.action_offset,
        tuple(policy.noise_shape),
        data.get("fps"),
        {
            "name": (source.config.get("run") or {}).get("name") or source.config.get("name"),
            "trainer": (source.config.get("trainer") or {}).get("_type_"),
            "step": loaded.step,
            "weights": loaded.weights,
            "digest": _sha256(manifest),
        },
    )


def describe_program(program: Mapping[str, Any]) -> PolicyDescription:
    """Return the description of an exported program by its `program.json`."""
    about = program["about"]
    inputs = {each["name"]: each for each in program["inputs"]}
    return PolicyDescription(
        {
            key: ObservationSpec(tuple(inputs[key]["shape"][2:]), inputs[key]["dtype"])
            for key in about["observation_keys"]
        },
        about["horizon"],
        about["action_dim"],
        about["n_obs_steps"],
        about["n_action_steps"],
        about["action_offset"],
        tuple(about["noise_shape"]),
        program.get("fps"),
        {
            "name": program.get("name"),
            "trainer": program.get("trainer"),
            "step": program.get("step"),
            "weights": program.get("weights"),
            "digest": program.get("checkpoint"),
        },
    )


def _spec(described: Mapping[str, Any] | None, n_obs_steps: int) -> ObservationSpec:
    if described is None:
        return ObservationSpec()
    return ObservationSpec(frame_shape(described["shape"], n_obs_steps), str(described["dtype"]))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
