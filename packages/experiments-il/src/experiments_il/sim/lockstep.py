"""Plays one policy in several lanes in lockstep, episode after episode."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from experiments_il.execution import Executor
    from experiments_il.sim.lane import EpisodeRecord, Lane

__all__ = ["play_in_lockstep"]


def play_in_lockstep(
    executor: Executor,
    lanes: Sequence[Lane],
    episodes: Iterator[int],
    over: Callable[[Lane, EpisodeRecord], None],
    interrupted: Callable[[], bool],
) -> None:
    """Play until there are no more episodes, or until `interrupted()`.

    Args:
        executor: What acts.
        lanes: Where; a lane begins the next episode as soon as its own is over.
        episodes: Numbers of the episodes, drawn as lanes become free.
        over: Called with each episode that is over, those that could not begin too.
        interrupted: Polled before each step; what is being played then is left.
    """
    active = dict(enumerate(lanes))

    def begin(number: int) -> None:
        """Start the next episode in a lane; those that cannot be started are over."""
        for episode in episodes:
            executor.start(number, episode)
            record = active[number].start(episode)
            if record is None:
                return
            over(active[number], record)
        del active[number]

    for number in range(len(lanes)):
        begin(number)
    while active and not interrupted():
        actions = executor.act({number: lane.observation() for number, lane in active.items()})
        for number, action in actions.items():
            record = active[number].step(action.numpy())
            if record is not None:
                over(active[number], record)
                begin(number)
