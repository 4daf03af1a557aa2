"""The data set factory `metaworld`: demonstrations, recorded when they are not there yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from experiments_il.data.build_lock import build_lock
from experiments_il.data.durable import is_unused
from experiments_il.data.factory import LeRobotFactory
from experiments_il.data.lerobot_format import read_info, read_json
from experiments_il.sim.record import RECORDING_PATH, RecordingPlan, record_demonstrations
from experiments_il.sim.recorded import recorded_features
from experiments_il.sim.recording_display import recording_display
from experiments_il.sim.simulators import METAWORLD, Simulator
from trainer_core.errors import DatasetError
from trainer_core.storage import make_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from policy_constructor.ranges import NonNegative, Positive
    from trainer_core.protocols import Batch

__all__ = ["Demonstrations", "MetaWorldDemonstrations"]

_BEFORE_EXPERTS = {"expert": "scripted"}
"""What a description from before there was a choice of experts does not say."""


class Demonstrations(LeRobotFactory):
    """Records demonstrations into `root` unless they are there; reads them.

    Args:
        task: Name of the task.
        root: The data set's folder. If it was recorded otherwise, that is an error: nothing is
            recorded over it.
        episodes: Successful episodes to record.
        noise: Standard deviation of the noise on executed actions, relative to half their range;
            the clean action is recorded.
        seed: Seed of the episodes; evaluate with another one.
        expert: Name of the scripted expert.
        cameras: Key of an observation to the name of the camera whose picture it holds.
        image_size: Height and width of these pictures.
        **reading: What `lerobot` takes: windows, keys, normalisation, splits.
    """

    simulator: ClassVar[Simulator]

    def __init__(
        self,
        task: str,
        root: str,
        *,
        episodes: Positive = 50,
        noise: NonNegative = 0.0,
        seed: int = 0,
        expert: str = "scripted",
        cameras: dict[str, str] | None = None,
        image_size: Sequence[int] = (64, 64),
        **reading: Any,
    ) -> None:
        super().__init__(root, **reading)
        self._request: dict[str, Any] = {
            "task": task,
            "episodes": episodes,
            "noise": noise,
            "seed": seed,
            "expert": expert,
            "cameras": dict(cameras or {}),
            "image_size": tuple(image_size),
        }

    def build(self, opt_params: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        """Record if need be; return `dataset`, `norm_stats` and, if asked for, `val_dataset`.

        Raises:
            DatasetError: `root` holds another recording, or something else.
            MissingPackageError: The simulator (to record) or pyarrow is not installed.
        """
        is_new = is_unused(self._root) and self._record_once()
        if not is_new:
            self._check_recording()
        built = super().build(opt_params, params)
        built["dataset"].recorded = self._root if is_new else None
        return built

    def describe_batch(self, size: int) -> Batch | None:
        """Return a batch on the meta device; what is recorded is known before it is recorded."""
        if not is_unused(self._root):
            return super().describe_batch(size)
        request = self._request
        features = recorded_features(
            self.simulator, request["task"], request["cameras"], request["image_size"]
        )
        return self.describe_features(features, self.simulator.fps, size)

    def _record_once(self) -> bool:
        """Record, or wait for the process of this run that does; return whether it was this one."""
        with build_lock(make_folder(self._root.parent)):
            is_own = is_unused(self._root)
            if is_own:
                self._record()
        return is_own

    def _record(self) -> None:
        with recording_display(self._request["task"], self._request["episodes"]) as progress:
            record_demonstrations(self._plan(), self._root, progress)

    def _plan(self) -> RecordingPlan:
        return RecordingPlan(simulator=self.simulator, **self._request)

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
        request = self._plan().to_json()
        found = _BEFORE_EXPERTS | found
        names = dict.fromkeys([*request, *(found.keys() & {"cameras", "image_size"})])
        other = [
            f"{name} {found.get(name)!r} instead of {request.get(name)!r}"
            for name in names
            if found.get(name) != request.get(name)
        ]
        if other:
            message = (
                f"{self._root}: was recorded with {', '.join(other)}; "
                "choose another root, or remove this one to record again"
            )
            raise DatasetError(message)


class MetaWorldDemonstrations(Demonstrations):
    """Records demonstrations of a Meta-World task into `root` unless they are there; reads them.

    The data set has `observation.state` float32 (39,), `action` float32 (4,), `next.reward`,
    `next.done` and `next.success`; with `cameras` also `observation.proprioception` float32 (4,)
    and a picture uint8 (3, height, width) for each.

    Args:
        task: A Meta-World v3 name such as `pick-place-v3`.
        root: The data set's folder. If it was recorded with another task, number of episodes,
            noise, seed, expert or other cameras, that is an error: nothing is recorded over it.
        settings: What all recordings take, and `lerobot`.
    """

    batch_keys: ClassVar = "experiments_il.sim.recorded:describe_metaworld"
    simulator = METAWORLD

    def __init__(self, task: str, root: str, **settings: Any) -> None:
        super().__init__(task, root, **settings)
