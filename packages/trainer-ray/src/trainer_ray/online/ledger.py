"""What a replay buffer knows beside the frames: how far each producer is, and what was counted."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from trainer_ray.online.incoming import Incoming
from trainer_ray.online.ring import Column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Added", "Ledger", "columns_of", "describe_columns", "from_bytes", "to_bytes"]

_RECENT = 100
_FRAMES = "frames/"


@dataclass
class Added:
    """One call of `add`: what is kept of it, and what is only counted.

    Attributes:
        producer: Who sent it.
        number: Its number there.
        outcomes: Whether each whole episode solved its task, kept or not.
        refused: How many episodes were refused.
        kept: What is kept.
    """

    producer: str
    number: int
    outcomes: list[bool]
    refused: int
    kept: Sequence[Incoming]

    @property
    def frames(self) -> int:
        """Frames that are kept."""
        return sum(episode.length for episode in self.kept)


@dataclass
class Ledger:
    """The counts of a buffer's whole life, through restarts.

    Attributes:
        columns: Shape and type of each key, as JSON data.
        producers: The highest number of each producer.
        recent: Outcomes of the last episodes.
        episodes: Whole ones, kept or not.
        successes: Those of them that solved their task.
        refused: Episodes that were refused.
        kept_episodes: What was kept, evicted by now or not.
        kept_frames: Their frames.
    """

    columns: dict[str, Any]
    producers: dict[str, int] = field(default_factory=dict)
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=_RECENT))
    episodes: int = 0
    successes: int = 0
    refused: int = 0
    kept_episodes: int = 0
    kept_frames: int = 0

    def last_number(self, producer: str) -> int:
        """Return the highest number of a producer; -1 if it has sent nothing."""
        return self.producers.get(producer, -1)

    def count(self, added: Added) -> None:
        """Count what was added."""
        self.producers[added.producer] = added.number
        self.recent.extend(added.outcomes)
        self.episodes += len(added.outcomes)
        self.successes += sum(added.outcomes)
        self.refused += added.refused
        self.kept_episodes += len(added.kept)
        self.kept_frames += added.frames

    def to_bytes(self) -> bytes:
        """Return it as JSON."""
        return json.dumps({**self.__dict__, "recent": list(self.recent)}).encode()

    def take_over(self, payload: memoryview) -> None:
        """Go on from what an earlier process knew when it began a segment.

        Numbers of producers never fall: a record in between may be damaged.

        Raises:
            ValueError: It is no ledger.
        """
        known = json.loads(bytes(payload))
        own = self.__dict__
        if not isinstance(known, dict) or {key: type(known[key]) for key in known} != {
            key: list if key == "recent" else type(own[key]) for key in own
        }:
            msg = "it is no ledger"
            raise ValueError(msg)
        for producer, number in self.producers.items():
            known["producers"][producer] = max(number, known["producers"].get(producer, -1))
        known["recent"] = deque(known["recent"], maxlen=_RECENT)
        own.update(known)


def describe_columns(columns: Mapping[str, Column]) -> dict[str, Any]:
    """Return shapes and types of keys as JSON data, in an order of their own."""
    return {
        key: {"shape": list(column.shape), "dtype": column.dtype.name}
        for key, column in sorted(columns.items())
    }


def columns_of(added: Added) -> dict[str, Any]:
    """Return shapes and types of what is kept, as `describe_columns` does."""
    first = added.kept[0].columns
    return describe_columns(
        {key: Column(values.shape[1:], values.dtype) for key, values in first.items()}
    )


def to_bytes(added: Added) -> bytes:
    """Return what was added as the content of a safetensors file."""
    kept = added.kept
    arrays = {
        "lengths": np.array([episode.length for episode in kept], np.int64),
        "successes": np.array([episode.is_success for episode in kept], np.bool_),
        "versions": np.array([episode.version for episode in kept], np.int64),
        "priorities": np.array(
            [-1.0 if episode.priority is None else episode.priority for episode in kept]
        ),
    }
    for key in kept[0].columns if kept else ():
        arrays[_FRAMES + key] = np.concatenate([episode.columns[key] for episode in kept])
    about = {
        "producer": added.producer,
        "number": added.number,
        "outcomes": added.outcomes,
        "refused": added.refused,
    }
    return save(arrays, {"about": json.dumps(about)})


def from_bytes(payload: memoryview) -> Added:
    """Return what was added.

    Raises:
        ValueError: It is not what `to_bytes` returns.
    """
    data = bytes(payload)
    try:
        arrays = load(data)
        size = int.from_bytes(data[:8], "little")
        about = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["about"])
        ends = np.cumsum(arrays["lengths"])[:-1]
        columns = {
            name.removeprefix(_FRAMES): np.split(array, ends)
            for name, array in arrays.items()
            if name.startswith(_FRAMES)
        }
        kept = [
            Incoming(
                {key: parts[place] for key, parts in columns.items()},
                bool(arrays["successes"][place]),
                int(arrays["versions"][place]),
                None if priority < 0 else float(priority),
            )
            for place, priority in enumerate(arrays["priorities"])
        ]
        return Added(about["producer"], about["number"], about["outcomes"], about["refused"], kept)
    except (SafetensorError, KeyError, TypeError, IndexError) as error:
        msg = f"it is no record of episodes: {error}"
        raise ValueError(msg) from error
