"""The data set factory `metaworld`: demonstrations, recorded when they are not there yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from experiments_il.data.durable import is_unused
from experiments_il.data.factory import LeRobotFactory
from experiments_il.data.lerobot_format import read_info, read_json
from experiments_il.sim.metaworld_env import FPS
from experiments_il.sim.record import RECORDING_PATH, record_demonstrations
from experiments_il.sim.recorded import RECORDED_FEATURES
from experiments_il.sim.recording_display import recording_display
from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy_constructor.ranges import Fraction, NonNegative, Positive
    from trainer_core.protocols import Batch

__all__ = ["MetaWorldDemonstrations"]


class MetaWorldDemonstrations:
    """Records demonstrations of a Meta-World task into `root` unless they are there; reads them.

    The data set has `observation.state` float32 (39,), `action` float32 (4,), `next.reward`,
    `next.done` and `next.success`.

    Args:
        task: A Meta-World v3 name such as `pick-place-v3`.
        root: The data set's folder. If it was recorded with another task, number of episodes,
            noise or seed, that is an error: nothing is recorded over it.
        episodes: Successful episodes to record.
        noise: Standard deviation of the noise on executed actions; the clean action is recorded.
        seed: Seed of the goals; evaluate with another one.
        windows: As for `lerobot`: `[start, stop]` in frames around each sample, by key.
        delta_timestamps: As for `lerobot`: the same in seconds.
        keys: As for `lerobot`: keys of the batch besides those with a window.
        normalize: As for `lerobot`: `mean_std`, `min_max`, `quantiles` or `identity`, by key.
        val_fraction: Share of the episodes kept for validation, in [0, 1).
        split_seed: Which episodes those are.
        cache_dir: Where to keep the memory-mapped columns.
    """

    batch_keys: ClassVar = "experiments_il.sim.recorded:describe"

    def __init__(
        self,
        task: str,
        root: str,
        episodes: Positive = 50,
        noise: NonNegative = 0.0,
        seed: int = 0,
        windows: dict[str, list[int]] | None = None,
        delta_timestamps: dict[str, list[float]] | None = None,
        keys: list[str] | None = None,
        normalize: dict[str, Literal["mean_std", "min_max", "quantiles", "identity"]] | None = None,
        val_fraction: Fraction = 0.0,
        split_seed: int = 0,
        cache_dir: str | None = None,
    ) -> None:
        self._root = Path(root).expanduser()
        self._task = task
        self._episodes = episodes
        self._noise = noise
        self._seed = seed
        self._reader = LeRobotFactory(
            root,
            windows=windows,
            delta_timestamps=delta_timestamps,
            keys=keys,
            normalize=normalize,
            val_fraction=val_fraction,
            split_seed=split_seed,
            cache_dir=cache_dir,
        )

    def build(self, opt_params: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        """Record if need be; return `dataset`, `norm_stats` and, if asked for, `val_dataset`.

        Raises:
            DatasetError: `root` holds another recording, or something else.
            MissingPackageError: Meta-World (to record) or pyarrow is not installed.
        """
        if is_unused(self._root):
            self._record()
        else:
            self._check_recording()
        return self._reader.build(opt_params, params)

    def describe_batch(self, size: int) -> Batch | None:
        """Return a batch on the meta device; what is recorded is known before it is recorded."""
        if not is_unused(self._root):
            return self._reader.describe_batch(size)
        return self._reader.describe_features(RECORDED_FEATURES, FPS, size)

    def _record(self) -> None:
        with recording_display(self._task, self._episodes) as progress:
            record_demonstrations(
                self._task,
                self._episodes,
                self._root,
                noise=self._noise,
                seed=self._seed,
                progress=progress,
            )

    def _check_recording(self) -> None:
        read_info(self._root)
        path = self._root / RECORDING_PATH
        if not path.is_file():
            message = (
                f"{self._root}: was not recorded by this factory ({RECORDING_PATH} is missing); "
                "read it with {_type_: lerobot}"
            )
            raise DatasetError(message)
        found = read_json(path)
        if not isinstance(found, dict):
            message = f"{path}: expected a mapping, found {type(found).__name__}"
            raise DatasetError(message)
        request = {
            "task": self._task,
            "episodes": self._episodes,
            "noise": self._noise,
            "seed": self._seed,
        }
        other = [
            f"{name} {found.get(name)!r} instead of {wanted!r}"
            for name, wanted in request.items()
            if found.get(name) != wanted
        ]
        if other:
            message = (
                f"{self._root}: was recorded with {', '.join(other)}; "
                "choose another root, or remove this one to record again"
            )
            raise DatasetError(message)
