"""A data set and a game that a rollout worker plays in milliseconds."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer_core.errors import TrainerError, UserError
from trainer_core.online import Episode, EpisodeKey

LENGTH = 8
"""Frames of an episode."""


class Data:
    """Samples of noise: `x`, this frame's and the next one's `y`, and their `index`.

    Args:
        size: Samples.
        offset: Added to `x`, so that its statistics are not those of a rollout.
        slow_s: How long it takes to read a batch, in seconds.
    """

    def __init__(self, size: int = 60, offset: float = 0.0, slow_s: float = 0.0) -> None:
        self.size = size
        self.offset = offset
        self.slow_s = slow_s

    def build(self, opt_params: Any, params: Any) -> dict[str, Any]:
        mean = [self.offset] * 3
        stats = {"x": {"mode": "mean_std", "mean": mean, "std": [2.0] * 3}}
        return {"dataset": Samples(self.size, self.offset, self.slow_s), "norm_stats": stats}


class Samples:
    """What `Data` builds."""

    fps = 10.0

    def __init__(self, size: int, offset: float, slow_s: float = 0.0) -> None:
        self.slow_s = slow_s
        random = np.random.default_rng(0)
        self.x = (random.normal(size=(size, 3)) + offset).astype(np.float32)
        self.y = random.normal(size=(size, 2)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def episode_keys(self) -> dict[str, EpisodeKey]:
        keys = {"x": EpisodeKey((3,), "float32"), "y": EpisodeKey((2,), "float32", (0, 1))}
        return {**keys, "index": EpisodeKey((), "int64"), "number": EpisodeKey((), "int64")}

    def __getitems__(self, indices: Any) -> dict[str, Any]:
        time.sleep(self.slow_s)
        rows = np.asarray(indices)
        after = np.minimum(rows + 1, len(self.x) - 1)
        y = np.stack([self.y[rows], self.y[after]], 1)
        pad = np.stack([rows < 0, rows + 1 >= len(self.x)], 1)
        columns = {"x": self.x[rows], "y": y, "y_is_pad": pad, "index": rows}
        return self._batch({**columns, "number": np.full_like(rows, -1)})

    def batch_of_windows(self, windows: Any) -> dict[str, Any]:
        return self._batch(dict(windows))

    def _batch(self, columns: dict[str, Any]) -> dict[str, Any]:
        batch = {key: torch.from_numpy(values) for key, values in columns.items()}
        return {**batch, "first": batch["y"][:, 0].clone()}


class Loner(Data):
    """A data set that no episode can be added to."""

    def build(self, opt_params: Any, params: Any) -> dict[str, Any]:
        return {"dataset": Alone(self.size, self.offset), "norm_stats": {}}


class Alone:
    """What `Loner` builds."""

    def __init__(self, size: int, offset: float) -> None:
        self._samples = Samples(size, offset)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitems__(self, indices: Any) -> dict[str, Any]:
        return self._samples.__getitems__(indices)


class Game:
    """Plays episodes whose `x` is a weight, and whose `index` and `number` tell who played which.

    Args:
        seed: Of the episodes.
        wins: Every so many episodes are solved; 0: none.
        pause_s: How long an episode takes, in seconds.
        crash: `raise`, `die` or `refuse` before the first episode; `die:<file>` only until that
            file exists.
        rate: `success_rate` of an evaluation at step 0; it grows by 0.01 with each step.
    """

    def __init__(
        self,
        seed: int = 1,
        wins: int = 1,
        pause_s: float = 0.02,
        crash: str = "",
        rate: float = 0.0,
    ) -> None:
        self.seed = seed
        self.wins = wins
        self.pause_s = pause_s
        self.crash = crash
        self.rate = rate

    def evaluate(self, context: Any) -> dict[str, Any]:
        return {"success_rate": min(1.0, self.rate + 0.01 * context.step), "n": 5}

    def collect(self, context: Any, send: Any, *, first: int = 0) -> None:
        context.out_dir.mkdir(parents=True, exist_ok=True)
        (context.out_dir / "pid").write_text(str(os.getpid()))
        self._crash(context)
        number = first
        while not context.interrupted():
            time.sleep(self.pause_s)
            send(self._play(context, number))
            with (context.out_dir / "acknowledged").open("a") as file:
                file.write(f"{number}\n")
            number += 1

    def _play(self, context: Any, number: int) -> Episode:
        weights = context.models["model"].state_dict()
        first = float(next(iter(weights.values())).flatten()[0])
        columns: dict[str, Any] = {
            "x": np.full((LENGTH, 3), first, np.float32),
            "y": np.arange(2 * LENGTH, dtype=np.float32).reshape(LENGTH, 2),
            "index": np.full(LENGTH, -1 - self.seed, np.int64),
            "number": np.full(LENGTH, number, np.int64),
        }
        return Episode(columns, bool(self.wins) and number % self.wins == 0)

    def _crash(self, context: Any) -> None:
        way, _, file = self.crash.partition(":")
        if not way or (file and Path(file).exists()):
            return
        if file:
            Path(file).touch()
        if way == "die":
            os._exit(3)
        if way == "refuse":
            message = "the toy has no such game"
            raise UserError(message)
        message = "the toy's simulator broke down in every episode: out of marbles"
        raise TrainerError(message)


class Still:
    """An evaluator that only measures."""

    def evaluate(self, context: Any) -> dict[str, Any]:
        return {"n": 1}
