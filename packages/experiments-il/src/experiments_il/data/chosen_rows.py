"""Which rows a data set's samples are, from the episodes that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainer_core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from experiments_il.data.column_store import ColumnStore

__all__ = ["rows_of", "select_episodes"]


def select_episodes(store: ColumnStore, episodes: Sequence[int] | None) -> NDArray[np.int64]:
    """Return the episodes that were asked for, ascending; all of them for None.

    Raises:
        DatasetError: None were, or there is no such episode.
    """
    count = len(store.source.episodes)
    if episodes is None:
        return np.arange(count)
    outside = sorted(episode for episode in episodes if not 0 <= episode < count)
    if outside or not len(episodes):
        wrong = (
            f"no episode {outside[0]}" if outside else "no episodes to choose from an empty list"
        )
        message = f"{store.source.root}: {wrong}; the data set has episodes 0 to {count - 1}"
        raise DatasetError(message)
    return np.unique(np.asarray(list(episodes), np.int64))


def rows_of(store: ColumnStore, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of some episodes, one episode after the other."""
    episodes = store.source.episodes
    ranges = [
        np.arange(episodes.start[episode], episodes.stop[episode]) for episode in chosen.tolist()
    ]
    return np.concatenate(ranges)
