"""The data set factory `lerobot`: a LeRobotDataset on disk as the engine's training data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from experiments_il.data.window_factory import WindowFactory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from experiments_il.data.lerobot_format import Feature
    from experiments_il.data.source import FrameSource

__all__ = ["LeRobotFactory"]


class LeRobotFactory(WindowFactory):
    """Opens a LeRobotDataset v3.0, v2.1 or v2.0: numbers, PNG cameras and mp4 cameras.

    The batch holds every chosen key: float32 `(B, ...)`, and `(B, T, ...)` with `<key>_is_pad`
    `(B, T)` for keys with a window; cameras as uint8 `(B, [T,] C, H, W)`; `index` int64 `(B,)`.

    Args:
        root: The data set's folder, the one that holds `meta/info.json`.
        **shared: Windows, keys, normalisation, splits: the same for every format.
    """

    batch_keys: ClassVar = "experiments_il.data.batch_shapes:describe"

    def __init__(self, root: str, **shared: Any) -> None:
        super().__init__(root, **shared)

    def open_source(self) -> FrameSource:
        """Open the data set; its data files are read later."""
        from experiments_il.data.lerobot_source import open_lerobot  # noqa: PLC0415 - pyarrow

        return open_lerobot(self._root)

    def declared_features(self) -> tuple[Mapping[str, Feature], float] | None:
        """Return what `info.json` declares; None without one."""
        from experiments_il.data.lerobot_format import INFO_PATH, read_info  # noqa: PLC0415 - when used

        if not (self._root / INFO_PATH).is_file():
            return None
        info = read_info(self._root)
        return info.features, info.fps
