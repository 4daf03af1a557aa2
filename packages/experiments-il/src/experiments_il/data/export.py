"""Episodes written as LeRobotDataset v3.0 or v2.1, robomimic, ALOHA or diffusion_policy zarr."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from experiments_il.data.durable import claim_staging
from experiments_il.data.episode_stream import own_features, stream_episodes
from experiments_il.data.feature_specs import converted_specs
from experiments_il.data.hdf5 import import_h5py
from experiments_il.data.lerobot_v2_writer import write_lerobot_v2
from experiments_il.data.writer import LeRobotWriter
from experiments_il.data.zarr_replay import import_zarr
from trainer_core.errors import DatasetError, StorageError
from trainer_core.storage import flush_to_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from experiments_il.data.episode_stream import EpisodeData
    from experiments_il.data.source import FrameSource

__all__ = ["FORMATS", "LEROBOT_KINDS", "export", "other_names"]

LEROBOT_KINDS = frozenset({"lerobot", "lerobot-v2.1"})

Names: TypeAlias = "Mapping[str, str]"
"""Where a feature goes, by its name; features that a format has no place for are not there."""

_OBSERVATION = "observation."
_IMAGES = "observation.images."
_IMAGES_PER_CHUNK = 16
_ROWS_PER_CHUNK = 8192


def export(
    source: FrameSource,
    target: Path,
    kind: str,
    progress: Callable[[int], None] | None = None,
    *,
    as_videos: bool = False,
) -> list[str]:
    """Write a data set in another format; nothing is visible before it is whole.

    Args:
        source: The data set.
        target: A folder or file that is not there yet.
        kind: A key of `FORMATS`.
        progress: Called with the number of episodes that were written.
        as_videos: Encode cameras as mp4, which is lossy; for `LEROBOT_KINDS`, which have PNG
            otherwise.

    Returns:
        The features (and `task`) that the format has no place for, which are left out.

    Raises:
        DatasetError: `target` exists, or the source is broken.
        StorageError: The disk refuses.
    """
    if target.exists():
        message = f"{target}: already exists"
        raise DatasetError(message)
    if source.root.resolve() in target.resolve().parents:
        message = f"{target}: lies inside the data set that is converted"
        raise DatasetError(message)
    write, place = FORMATS[kind]
    if as_videos:
        write = partial(write, camera="video")
    features = own_features(source)
    is_lerobot = kind in LEROBOT_KINDS
    names = {name: where for name in features if (where := place(name)) is not None}
    names = {n: w for n, w in names.items() if features[n].dtype != "string" or is_lerobot}
    with _staged(target) as staged:
        write(source, staged, names, _counted(stream_episodes(source), progress))
    left_out = [name for name in features if name not in names]
    return left_out + (["task"] if not is_lerobot and any(source.tasks) else [])


def other_names(source: FrameSource, written: FrameSource, kind: str) -> dict[str, str]:
    """Return what a data set that was written calls its features when it is read, if not as before.

    Args:
        source: What was written.
        written: What came of it, opened.
        kind: A key of `FORMATS`.
    """
    _, place = FORMATS[kind]
    found = {
        column.parts[0].removeprefix("data/"): name
        for name, column in getattr(written, "columns", {}).items()
    }
    stored = {name: str(place(name)).removeprefix("data/") for name in own_features(source)}
    return {
        name: found[where]
        for name, where in stored.items()
        if where in found and found[where] != name
    }


def _counted(
    episodes: Iterable[EpisodeData], progress: Callable[[int], None] | None
) -> Iterator[EpisodeData]:
    for count, episode in enumerate(episodes, start=1):
        yield episode
        if progress is not None:
            progress(count)


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """Yield a path to write to; it gets its name if nothing failed."""
    staging: Path | None = None
    try:
        staging = claim_staging(target.parent, f".writing-{target.name}-")
        written = staging / target.name
        yield written
        for path in [written, *(written.rglob("*") if written.is_dir() else ())]:
            flush_to_disk(path)
        written.rename(target)
        flush_to_disk(target.parent)
    except OSError as exc:
        message = f"{target}: cannot be written: {exc.strerror or exc}"
        raise StorageError(message) from exc
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def _write_lerobot(
    source: FrameSource,
    path: Path,
    names: Names,
    episodes: Iterable[EpisodeData],
    *,
    camera: str = "image",
) -> None:
    specs = converted_specs(source.features, list(names), camera)
    with LeRobotWriter.create(path, fps=source.fps, features=specs) as writer:
        for episode in episodes:
            writer.add_episode(episode.values, episode.tasks)


def _write_robomimic(
    source: FrameSource, path: Path, names: Names, episodes: Iterable[EpisodeData]
) -> None:
    with import_h5py().File(path, "w") as file:
        data = file.create_group("data")
        settings = {"env_name": source.tasks[0], "env_type": 2}
        kwargs = {"control_freq": source.fps}
        data.attrs["env_args"] = json.dumps({**settings, "env_kwargs": kwargs})
        data.attrs["total"] = int(source.episodes.stop[-1])
        for episode in episodes:
            demo = data.create_group(f"demo_{episode.number}")
            demo.attrs["num_samples"] = len(episode.tasks)
            _write_arrays(demo, episode, names)
        file["mask/train"] = np.array([f"demo_{n}" for n in range(len(source.episodes))], "S")


def _write_aloha(
    source: FrameSource, path: Path, names: Names, episodes: Iterable[EpisodeData]
) -> None:
    del source
    h5py = import_h5py()
    path.mkdir()
    for episode in episodes:
        with h5py.File(path / f"episode_{episode.number}.hdf5", "w") as file:
            file.attrs.update(sim=False, compress=False)
            _write_arrays(file, episode, names)


def _write_arrays(group: Any, episode: EpisodeData, names: Names) -> None:
    for name, where in names.items():
        values = np.asarray(episode.values[name])
        is_frames = values.ndim == 4 and values.dtype == np.uint8
        chunks = (1, *values.shape[1:]) if is_frames else None
        group.create_dataset(where, data=values, chunks=chunks)


def _write_zarr(
    source: FrameSource,
    path: Path,
    names: Names,
    episodes: Iterable[EpisodeData],
    *,
    version: int = 2,
) -> None:
    group = import_zarr().open_group(path, mode="w", zarr_format=version)
    total = int(source.episodes.stop[-1])
    arrays = {}
    for name, where in names.items():
        feature = source.features[name]
        channels_last = (*feature.item_shape[1:], *feature.item_shape[:1])
        shape = channels_last if feature.is_frame else feature.item_shape
        arrays[name] = group.create_array(
            f"data/{where}",
            shape=(total, *shape),
            chunks=(min(total, _IMAGES_PER_CHUNK if feature.is_frame else _ROWS_PER_CHUNK), *shape),
            dtype=feature.stored_dtype,
        )
    for episode in episodes:
        start = int(source.episodes.start[episode.number])
        for name, array in arrays.items():
            array[start : start + len(episode.tasks)] = episode.values[name]
    ends = source.episodes.stop.astype(np.int64)
    group.create_array("meta/episode_ends", data=ends)


def _robomimic_place(name: str) -> str | None:
    known = {"action": "actions", "next.reward": "rewards", "next.done": "dones"}
    short = name.removeprefix(_IMAGES).removeprefix(_OBSERVATION)
    return known.get(name) or (f"obs/{short}" if name.startswith(_OBSERVATION) else None)


def _aloha_place(name: str) -> str | None:
    known = {"observation.state": "qpos", "observation.velocity": "qvel"}
    if name.startswith(_IMAGES):
        return f"observations/images/{name.removeprefix(_IMAGES)}"
    if name.startswith(_OBSERVATION):
        return f"observations/{known.get(name, name.removeprefix(_OBSERVATION))}"
    return name


def _zarr_place(name: str) -> str | None:
    return name.removeprefix(_IMAGES).removeprefix(_OBSERVATION)


FORMATS: dict[str, tuple[Callable[..., None], Callable[[str], str | None]]] = {
    "lerobot": (_write_lerobot, lambda name: name),
    "lerobot-v2.1": (write_lerobot_v2, lambda name: name),
    "robomimic": (_write_robomimic, _robomimic_place),
    "aloha": (_write_aloha, _aloha_place),
    "zarr": (_write_zarr, _zarr_place),
    "zarr-v3": (partial(_write_zarr, version=3), _zarr_place),
}
"""What writes a format, and where it puts a feature."""
