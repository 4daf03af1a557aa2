"""Episodes as moving pictures: their cameras, a drawing of the state, or curves with a cursor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, final, overload

import numpy as np

from experiments_il.commands.figures import new_figure
from experiments_il.data.column_store import ColumnStore
from experiments_il.data.optional_packages import import_optional
from experiments_il.data.pictures import CameraPictures
from experiments_il.sim.schematic import draw_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from experiments_il.data.source import FrameSource

__all__ = ["EpisodeTile", "Grid", "episode_tiles"]

_STATE = "observation.state"
_METAWORLD_STATE = 39
_LINE = 14
_CURSOR = (220, 40, 40)
_NEED = "trainer data view"


class _Painter(Protocol):
    def __call__(self, frame: int) -> NDArray[np.uint8]: ...


@final
class EpisodeTile:
    """One episode as pictures of one size, with its number above.

    Args:
        title: What is written above.
        task: What the robot is asked to do.
        length: Frames.
        paint: Returns the picture of a frame, uint8 `(height, width, 3)`.
    """

    def __init__(self, title: str, task: str, length: int, paint: _Painter) -> None:
        self.title, self.task, self.length = title, task, length
        self._paint = paint
        self._last: tuple[int, NDArray[np.uint8]] | None = None

    def picture(self, frame: int) -> NDArray[np.uint8]:
        """Return the picture of a frame; after the end, a dimmed last one."""
        shown = min(frame, self.length - 1)
        if self._last is None or self._last[0] != shown:
            seen = self._paint(shown)
            self._last = shown, np.concatenate([_title_line(self.title, seen.shape[1]), seen])
        picture = self._last[1]
        return picture if frame < self.length else (picture // 2).astype(np.uint8)


@final
class Grid(Sequence["NDArray[np.uint8]"]):
    """The pictures of several episodes side by side, each drawn when it is asked for.

    Args:
        tiles: The episodes; all of one size.
        progress: Called with how many pictures of single episodes were drawn.
    """

    def __init__(self, tiles: Sequence[EpisodeTile], progress: Callable[[int], None]) -> None:
        self._tiles = tiles
        self._progress = progress
        self._across = math.ceil(math.sqrt(len(tiles)))

    def __len__(self) -> int:
        """Return the length of the longest episode."""
        return max(tile.length for tile in self._tiles)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.uint8]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return a picture, uint8 `(height, width, 3)`, both even."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        pictures = [tile.picture(index) for tile in self._tiles]
        pictures += [np.zeros_like(pictures[0])] * (-len(pictures) % self._across)
        rows = [
            np.concatenate(pictures[n : n + self._across], axis=1)
            for n in range(0, len(pictures), self._across)
        ]
        self._progress(sum(min(index + 1, tile.length) for tile in self._tiles))
        whole = np.concatenate(rows)
        return np.pad(whole, [(0, whole.shape[0] % 2), (0, whole.shape[1] % 2), (0, 0)])


def episode_tiles(
    source: FrameSource, chosen: Sequence[int], cameras: Sequence[str], height: int
) -> list[EpisodeTile]:
    """Return tiles of one size.

    Args:
        source: The data set.
        chosen: Numbers of episodes.
        cameras: What to show; none: a drawing of the numbers.
        height: Pixels of a picture.

    Raises:
        DatasetError: A file is missing or broken.
        MissingPackageError: Pillow, or matplotlib for curves, is not installed.
    """
    store = ColumnStore(source, cache="none")
    readers = [CameraPictures(source, name) for name in cameras]
    codes = store.numbers("task_index")
    tiles = []
    for number in chosen:
        start, stop = int(source.episodes.start[number]), int(source.episodes.stop[number])
        paint = (
            _camera_painter(readers, start, stop, height)
            if readers
            else _number_painter(store, start, stop, height)
        )
        task = source.tasks[int(codes[start])]
        tiles.append(EpisodeTile(f"episode {number}", task, stop - start, paint))
    return tiles


def _camera_painter(
    readers: Sequence[CameraPictures], start: int, stop: int, height: int
) -> _Painter:
    for reader in readers:
        reader.keep(start, stop)

    def paint(frame: int) -> NDArray[np.uint8]:
        seen = [_resized(reader.at(start + frame), height) for reader in readers]
        return np.concatenate(seen, axis=1)

    return paint


def _number_painter(store: ColumnStore, start: int, stop: int, height: int) -> _Painter:
    features = store.source.features
    state = features.get(_STATE)
    if state is not None and state.shape == (_METAWORLD_STATE,):
        values = store.numbers(_STATE)[start:stop].astype(np.float64)
        return lambda frame: _resized(draw_state(values[frame]), height)
    names = [name for name in ("action", _STATE) if name in features and features[name].is_numeric]
    curves = [(name, store.numbers(name)[start:stop].reshape(stop - start, -1)) for name in names]
    picture, left, right = _draw_curves(curves, height)

    def paint(frame: int) -> NDArray[np.uint8]:
        marked = picture.copy()
        column = round(left + (right - left) * frame / max(1, stop - start - 1))
        marked[:, column : column + 1] = _CURSOR
        return marked

    return paint


def _draw_curves(
    curves: Sequence[tuple[str, NDArray[Any]]], height: int
) -> tuple[NDArray[np.uint8], float, float]:
    """Return curves as a picture, and the columns of its first and last frame."""
    figure = new_figure(2.4 * height / 100, height / 100, _NEED, layout=None)
    all_axes = figure.subplots(len(curves), 1, squeeze=False)[:, 0]
    for axes, (name, values) in zip(all_axes, curves, strict=True):
        axes.plot(values, linewidth=0.7)
        axes.set_xlim(0, max(1, len(values) - 1))
        axes.set_ylabel(name.removeprefix("observation."), fontsize=5)
        axes.tick_params(labelsize=4)
    figure.subplots_adjust(left=0.12, right=0.98, top=0.97, bottom=0.12)
    figure.set_dpi(100)
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    width = picture.shape[1]
    return picture, 0.12 * width, 0.98 * width - 1


def _resized(picture: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    if picture.shape[0] == height:
        return picture
    image = import_optional("PIL.Image", _NEED, "lerobot")
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    small: NDArray[np.uint8] = np.asarray(image.fromarray(picture).resize((width, height)))
    return small


def _title_line(title: str, width: int) -> NDArray[np.uint8]:
    image = import_optional("PIL.Image", _NEED, "lerobot")
    draw = import_optional("PIL.ImageDraw", _NEED, "lerobot")
    line = image.new("RGB", (width, _LINE), (30, 30, 30))
    draw.Draw(line).text((3, 1), title, fill=(255, 255, 255))
    return np.asarray(line)
