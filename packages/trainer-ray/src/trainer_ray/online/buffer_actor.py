"""The replay buffer as a named actor: it comes back after a kill, and says what keeps it shut."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from trainer_core.errors import UserError
from trainer_ray.mailbox import NAMESPACE
from trainer_ray.online.client import ask
from trainer_ray.online.incoming import describe_keys
from trainer_ray.online.replay_buffer import ReplayBuffer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["BufferActor", "start_buffer"]


class BufferActor:
    """A `ReplayBuffer` that is opened by the first call, with the same methods.

    Ray buries an actor for good whose constructor raises. So this one's never does: what keeps the
    buffer from being opened, such as a full disk after a restart, is the error of each call until
    it is gone.

    Args:
        folder: As `ReplayBuffer`; all of these.
        keys: The same.
        options: The same.
    """

    def __init__(self, folder: str, keys: Mapping[str, Mapping[str, Any]], **options: Any) -> None:
        self._arguments = (folder, keys, options)
        self._opened: ReplayBuffer | None = None

    @property
    def _buffer(self) -> ReplayBuffer:
        if self._opened is None:
            folder, keys, options = self._arguments
            self._opened = ReplayBuffer(folder, keys, **options)
        return self._opened

    def pid(self) -> int:
        """Return the number of this process."""
        return os.getpid()

    def add(self, producer: str, number: int, episodes: Sequence[Any]) -> dict[str, Any]:
        """Keep episodes; returns when they are on the disk."""
        return self._buffer.add(producer, number, episodes)

    def last_number(self, producer: str) -> int:
        """Return the highest number of a producer, -1 if none."""
        return self._buffer.last_number(producer)

    def sample(self, size: int, seed: int) -> dict[str, Any]:
        """Draw frames with the windows around them."""
        return self._buffer.sample(size, seed)

    def set_priorities(self, rows: NDArray[Any], values: NDArray[Any]) -> None:
        """Set the priorities of sampled frames."""
        self._buffer.set_priorities(rows, values)

    def describe(self) -> dict[str, Any]:
        """Return what is in the buffer and what went through it."""
        return self._buffer.describe()

    def attach(self, learner: str) -> str:
        """Make a learner the one of this buffer; return who else has it."""
        return self._buffer.attach(learner)

    def touch(self, learner: str) -> str:
        """Stay the learner of this buffer."""
        return self._buffer.touch(learner)

    def detach(self, learner: str) -> None:
        """Let another learner have the buffer."""
        self._buffer.detach(learner)


def start_buffer(
    folder: str,
    keys: Mapping[str, Mapping[str, Any]],
    *,
    name: str = "replay_buffer",
    timeout_s: float = 60.0,
    **options: Any,
) -> Any:
    """Return the actor of a name: the one that is there, or a new one on this machine.

    It takes no CPU of the cluster, ends when its first user lets go of what is returned here, and
    is restarted where it was, because there its files are.

    Args:
        folder: As `ReplayBuffer`; so are the keys and the other options.
        keys: An actor that is joined has to have the same.
        name: Of the actor, in the namespace `trainer`.
        timeout_s: How long it may take to start and to read what the folder holds.
        options: `capacity` and others.

    Raises:
        UserError: The folder or the actor holds episodes of other keys, or an option is wrong.
        TrainerError: It does not answer.
        StorageError: The disk refuses.
    """
    import ray  # noqa: PLC0415 - the buffer itself needs no Ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = (
        ray.remote(BufferActor)
        .options(
            name=name,
            namespace=NAMESPACE,
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy=here,
        )
        .remote(folder, keys, **options)
    )
    found = ask(actor, "describe", timeout_s=timeout_s)["keys"]
    if found != describe_keys(keys):
        msg = (
            f"the actor {name!r} holds episodes of other keys: {found}; this run has "
            f"{describe_keys(keys)}"
        )
        raise UserError(msg)
    return actor
