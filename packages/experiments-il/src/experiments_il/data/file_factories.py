"""The data set factories `robomimic_hdf5`, `episodic_hdf5` and `zarr_replay`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from experiments_il.data.window_factory import WindowFactory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from experiments_il.data.lerobot_format import Feature
    from experiments_il.data.source import FrameSource
    from policy_constructor.ranges import PositiveNumber

__all__ = ["EpisodicHdf5Factory", "RobomimicFactory", "ZarrReplayFactory"]


class _FileFactory(WindowFactory):
    """A factory whose features are known once the files' headers are read."""

    def declared_features(self) -> tuple[Mapping[str, Feature], float] | None:
        """Return what the files hold; None if they are not there."""
        if not self._root.exists():
            return None
        source = self.open_source()
        return source.features, source.fps


class RobomimicFactory(_FileFactory):
    """Opens robomimic's HDF5: one file, `data/demo_<k>`, masks.

    `obs/<key>` becomes `observation.<key>`, or `observation.images.<key>` if it holds images
    (uint8); `actions`, `rewards` and `dones` become `action`, `next.reward` and `next.done`.

    Args:
        path: The file.
        fps: Frames per second; the control frequency in the file's `env_args` if None.
        state: Observations to concatenate into `observation.state`, in this order, instead of a
            column each.
        filter: A mask of the file such as `train`: only the demonstrations it names are used.
        **shared: Windows, keys, normalisation, splits: the same for every format.
    """

    batch_keys: ClassVar = "experiments_il.data.batch_shapes:describe_named"

    def __init__(
        self,
        path: str,
        fps: PositiveNumber | None = None,
        state: list[str] | None = None,
        filter: str | None = None,  # noqa: A002 - robomimic's word
        **shared: Any,
    ) -> None:
        super().__init__(path, **shared)
        self._fps = fps
        self._state = state or []
        self._filter = filter

    def open_source(self) -> FrameSource:
        """Read the headers of the demonstrations."""
        from experiments_il.data.robomimic import open_robomimic  # noqa: PLC0415 - numpy

        return open_robomimic(self._root, fps=self._fps, state=self._state)

    def choose_episodes(self, source: FrameSource) -> list[int] | None:
        """Return the demonstrations of the filter that are among `episodes`."""
        from experiments_il.data.robomimic import RobomimicSource  # noqa: PLC0415 - numpy

        chosen = super().choose_episodes(source)
        if self._filter is None or not isinstance(source, RobomimicSource):
            return chosen
        named = source.filtered(self._filter)
        return named if chosen is None else [each for each in named if each in set(chosen)]


class EpisodicHdf5Factory(_FileFactory):
    """Opens a folder with one HDF5 file per episode, as ALOHA records.

    `observations/qpos` becomes `observation.state`, `qvel` `observation.velocity`, other arrays
    `observation.<name>`, cameras `observation.images.<name>` (raw, or JPEG padded to one length);
    `action` and other arrays keep their names.

    Args:
        path: The folder.
        fps: Frames per second; ALOHA records at 50.
        state: Arrays to concatenate into `observation.state`, such as `[qpos, qvel]`.
        task: What the robot is asked to do: the string under `task`.
        jpeg_colors: `bgr` if compressed frames come out with red and blue exchanged: those that
            were RGB when OpenCV, which takes BGR, encoded them.
        **shared: Windows, keys, normalisation, splits: the same for every format.
    """

    batch_keys: ClassVar = "experiments_il.data.batch_shapes:describe_named"

    def __init__(
        self,
        path: str,
        fps: PositiveNumber,
        state: list[str] | None = None,
        task: str = "",
        jpeg_colors: Literal["rgb", "bgr"] = "rgb",
        **shared: Any,
    ) -> None:
        super().__init__(path, **shared)
        self._fps = fps
        self._state = state or []
        self._task = task
        self._is_bgr = jpeg_colors == "bgr"

    def open_source(self) -> FrameSource:
        """Read the headers of the files."""
        from experiments_il.data.aloha import open_episodic_hdf5  # noqa: PLC0415 - numpy

        return open_episodic_hdf5(
            self._root, fps=self._fps, task=self._task, state=self._state, is_bgr=self._is_bgr
        )


class ZarrReplayFactory(_FileFactory):
    """Opens a zarr store as diffusion_policy writes it: `data/<key>`, `meta/episode_ends`.

    `action` keeps its name, `<key>` becomes `observation.<key>`, or `observation.images.<key>` if
    it holds images: uint8, or floats in 0..255 or, if none is above 1, in 0..1.

    Args:
        path: The store: a folder, or a zip file of one; zarr version 2 or 3.
        fps: Frames per second; PushT has 10.
        state: Keys to concatenate into `observation.state`, in this order, instead of a column
            each.
        task: What the robot is asked to do: the string under `task`.
        **shared: Windows, keys, normalisation, splits: the same for every format.
    """

    batch_keys: ClassVar = "experiments_il.data.zarr_layout:describe"

    def __init__(
        self,
        path: str,
        fps: PositiveNumber,
        state: list[str] | None = None,
        task: str = "",
        **shared: Any,
    ) -> None:
        super().__init__(path, **shared)
        self._fps = fps
        self._state = state or []
        self._task = task

    def open_source(self) -> FrameSource:
        """Read the store's metadata."""
        from experiments_il.data.zarr_replay import open_zarr_replay  # noqa: PLC0415 - numpy

        return open_zarr_replay(self._root, fps=self._fps, task=self._task, state=self._state)
