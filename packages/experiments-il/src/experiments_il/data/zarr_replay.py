"""The replay buffers of diffusion_policy: zarr stores of versions 2 and 3, folders or zip files."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments_il.data.array_source import ArraySource
from experiments_il.data.episodes import Episodes
from experiments_il.data.optional_packages import import_optional
from experiments_il.data.zarr_layout import ENDS, read_layout, zarr_columns
from trainer_core.errors import DatasetError, TrainerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ZarrReplaySource", "import_zarr", "open_zarr_replay"]

_ROWS_AT_ONCE = 100_000
_IMAGES_AT_ONCE = 64


class ZarrReplaySource(ArraySource):
    """The episodes of a store."""

    kind = "zarr replay buffer"

    prefix = ""

    def files(self) -> list[Path]:
        """Return the zip file, or every file of the folder."""
        if not self.root.is_dir():
            return [self.root]
        return sorted(path for path in self.root.rglob("*") if path.is_file())

    def read_blocks(
        self, parts: Sequence[str], *, small: bool
    ) -> Iterator[tuple[slice, dict[str, Any]]]:
        """Yield runs of frames that are whole chunks of the first array."""
        total = int(self.episodes.stop[-1])
        with _open_store(self.root, self.prefix) as group:
            step = _ROWS_AT_ONCE
            if small:
                chunk = int(group[parts[0]].chunks[0])
                step = max(1, _IMAGES_AT_ONCE // chunk) * chunk
            for begin in range(0, total, step):
                rows = slice(begin, min(begin + step, total))
                yield rows, {part: np.asarray(group[part][rows]) for part in parts}


def open_zarr_replay(
    path: Path, *, fps: float, task: str = "", state: Sequence[str] = ()
) -> ZarrReplaySource:
    """Open a store.

    Args:
        path: Its folder, or a zip file of it.
        fps: Frames per second.
        task: What the robot is asked to do.
        state: Keys of `data` to concatenate into `observation.state`.

    Raises:
        DatasetError: It cannot be read, or its episodes do not add up.
        MissingPackageError: zarr is not installed.
    """
    layout = read_layout(path)
    with _open_store(path, layout.prefix) as group:
        ends = np.asarray(group[ENDS][:])
    source = ZarrReplaySource(
        path,
        fps=fps,
        columns=zarr_columns(path, layout, state),
        episodes=Episodes.of_lengths(_lengths(path, ends, layout.lengths["action"])),
        task=task,
        options=list(state),
    )
    source.prefix = layout.prefix
    return source


def import_zarr() -> Any:
    """Return zarr, or raise `MissingPackageError`."""
    return import_optional("zarr", "reading and writing zarr stores", "zarr")


@contextmanager
def _open_store(path: Path, prefix: str) -> Iterator[Any]:
    """Open a store to read, for the length of a block."""
    zarr = import_zarr()
    is_zip = not path.is_dir()
    try:
        store: Any = zarr.storage.ZipStore(path, mode="r") if is_zip else path
        try:
            yield zarr.open_group(store, mode="r", path=prefix.rstrip("/"))
        finally:
            if is_zip:
                store.close()
    except TrainerError:
        raise
    except Exception as exc:  # zarr and its codecs raise errors of many kinds
        message = f"{path}: cannot be read as a zarr store: {exc}"
        raise DatasetError(message) from exc


def _lengths(path: Path, ends: NDArray[Any], total: int) -> list[int]:
    if ends.ndim != 1 or ends.dtype.kind not in "iuf":
        message = (
            f"{path}: {ENDS} holds {ends.dtype} {list(ends.shape)}, expected a list of numbers"
        )
        raise DatasetError(message)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    lengths = ends.astype(np.int64) - starts
    if not len(ends) or (lengths < 1).any():
        episode = int(np.argmax(lengths < 1)) if len(ends) else 0
        found = f"episode {episode} has no frames" if len(ends) else "there are no episodes"
        message = f"{path}: {ENDS}: {found}"
        raise DatasetError(message)
    if ends[-1] != total:
        message = f"{path}: {ENDS} says {ends[-1]} frames, data/action has {total}"
        raise DatasetError(message)
    return [int(length) for length in lengths]
