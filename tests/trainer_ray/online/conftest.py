"""Small buffers and episodes whose every number tells where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest

from trainer_ray.online.replay_buffer import ReplayBuffer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEYS: dict[str, dict[str, Any]] = {
    "action": {"shape": [2], "dtype": "float32", "offsets": [0, 1, 2]},
    "frame": {"shape": [], "dtype": "int64", "offsets": None},
}


class MakeEpisode(Protocol):
    """Returns an episode as a producer sends it; its frames count up from `first`."""

    def __call__(self, first: int = 0, steps: int = 4, **more: Any) -> dict[str, Any]: ...


class OpenBuffer(Protocol):
    """Opens the test's folder once more, after closing the buffer before."""

    def __call__(self, **options: Any) -> ReplayBuffer: ...


@pytest.fixture
def episode() -> MakeEpisode:
    def make(first: int = 0, steps: int = 4, **more: Any) -> dict[str, Any]:
        frames = np.arange(first, first + steps)
        action = np.stack([frames, -frames], axis=1).astype(np.float32)
        return {"columns": {"action": action, "frame": frames}, "success": True, **more}

    return make


@pytest.fixture
def open_buffer(tmp_path: Path) -> Iterator[OpenBuffer]:
    opened: list[ReplayBuffer] = []

    def close() -> None:
        while opened:
            opened.pop().close()

    def open_one(**options: Any) -> ReplayBuffer:
        close()
        given = {"keys": KEYS, "capacity": 100, "lock_patience_s": 0.0, **options}
        opened.append(ReplayBuffer(str(tmp_path / "replay"), **given))
        return opened[-1]

    yield open_one
    close()
