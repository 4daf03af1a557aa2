"""The online part of a run, as hooks of the learner's loop."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from trainer_core.engine.runfolder import resolved_yaml
from trainer_core.errors import UserError
from trainer_core.hookspecs import hookimpl
from trainer_ray.online.acting_weights import Averages
from trainer_ray.online.actors import NamedActor, start_actor
from trainer_ray.online.buffer_actor import start_buffer
from trainer_ray.online.cluster_checks import describe_holder, learner_name
from trainer_ray.online.feedback import Feedback
from trainer_ray.online.filling import WaitLines, set_aside, wait_for_frames
from trainer_ray.online.gauges import Gauges
from trainer_ray.online.policy_state import PolicyStateManager
from trainer_ray.online.prefetch import Prefetch
from trainer_ray.online.publishing import Publisher
from trainer_ray.online.samples import BufferSamples, Drawn, to_batch
from trainer_ray.online.supervision import Supervisor
from trainer_ray.software import describe_software

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer_core.engine.state import RunState
    from trainer_core.experiment.loading import LoadedExperiment
    from trainer_core.protocols import Batch
    from trainer_ray.online.mixed_data import MixedData
    from trainer_ray.online.options import Options

__all__ = ["Session"]

_START_S = 120.0
_PUBLISH_S = 60.0
_SLOWEST_BYTES_PER_S = 20e6


class Session:
    """Starts the actors, publishes weights, fills batches up, and ends what it has started.

    Args:
        loaded: The experiment.
        options: The runner's options.
        mixed: The data set of the run.
        rollouts: The spec of the evaluator that rollout workers play.
    """

    def __init__(
        self,
        loaded: LoadedExperiment,
        options: Options,
        mixed: MixedData,
        rollouts: Mapping[str, Any],
    ) -> None:
        out_dir = Path(loaded.config.run.out_dir).absolute()
        self._loaded = loaded
        self._options = options
        self._mixed = mixed
        self._rollouts = dict(rollouts)
        self._out_dir = out_dir
        self._learner = learner_name(loaded)
        self._buffer = _make_buffer(options, mixed, out_dir)
        self._manager = _make_manager(options, out_dir)
        self._held: list[NamedActor] = []
        self._publisher: Publisher | None = None
        self._supervisor: Supervisor | None = None
        self._prefetch: Prefetch[tuple[Batch, Drawn]] | None = None
        self._feedback = Feedback(self._buffer, mixed.proportions.places())
        self._gauges: Gauges | None = None
        self._is_behind = False
        self._is_training = False
        self._began = time.perf_counter()

    @hookimpl(trylast=True)
    def trainer_fit_start(self, state: RunState) -> None:
        """Start what the run needs; without `offline_steps`, wait for the first frames.

        Callbacks come before this and the other hooks, so that averages are those of the step.
        """
        if state.step >= state.total_steps:
            return
        self._began = time.perf_counter()
        if self._loaded.config.run.resume == "none":
            set_aside(self._out_dir)
        with state.pause():  # an actor may take long, and has limits of its own
            self._start(state)
        if state.step >= self._options.offline_steps:
            self._begin(state)
        self._is_training = True

    @hookimpl(trylast=True)
    def trainer_step_end(self, state: RunState) -> None:
        """Publish the weights where that is due; end the run where nobody plays any more."""
        publisher, supervisor = self._publisher, self._supervisor
        if publisher is None or supervisor is None:
            return
        if self._is_behind or state.step % self._options.publish_every == 0:
            self._is_behind = not publisher.publish(state.step)
        supervisor.check()
        is_last = state.step >= state.total_steps
        if self._prefetch is None and state.step >= self._options.offline_steps and not is_last:
            publisher.publish(state.step)
            self._begin(state)

    @hookimpl
    def trainer_measured(self, state: RunState, metrics: Mapping[str, Any]) -> None:
        """End the run where the policy is good enough."""
        target, found = self._options.target_success, metrics.get("eval/success_rate")
        if target is not None and found is not None and found >= target:
            state.stop(f"target_success: {found:.4g} reached {target:.4g}")

    @hookimpl
    def trainer_fit_end(self) -> None:
        """End what was started."""
        self.close()

    def close(self) -> None:
        """End the threads and the actors; what the buffer has kept is on the disk."""
        for part in (self._prefetch, self._feedback, self._supervisor, self._publisher):
            if part is not None:
                part.close()
        while self._held:
            actor = self._held.pop()
            if actor.is_joined:
                ray.wait([actor.ask("detach", self._learner)], timeout=1)
            actor.end()
        self._prefetch = self._supervisor = self._publisher = None

    def _start(self, state: RunState) -> None:
        """Start or join the buffer and the manager, and give it the weights.

        Raises:
            UserError: Another run has one of them, or the buffer's episodes have other keys.
        """
        for actor, option in (
            (self._buffer, "replay_buffer"),
            (self._manager, "policy_state_manager"),
        ):
            actor.start()
            holder = actor.call("attach", self._learner, limit_s=_START_S)
            if holder:
                raise UserError(describe_holder(option, actor.name, holder))
            self._held.append(actor)
        send = partial(self._manager.call, "publish", limit_s=_PUBLISH_S)
        averages = None
        if self._options.acting_weights == "averaged":
            averages = Averages(state.averages, state.optimizers.values())
        publisher = Publisher(state.models, ray.put, send, averages)
        self._publisher = publisher
        publisher.publish(state.step)
        supervisor = Supervisor(
            self._buffer,
            self._manager,
            self._learner,
            published=lambda: publisher.version,
            publish_again=publisher.repeat,
            runtime_env=self._options.runtime_env,
            limit_s=self._loaded.config.run.watchdog_s,
        )
        self._supervisor = supervisor
        waited_s = self._waited_s
        self._gauges = Gauges(lambda: supervisor.buffer, lambda: supervisor.acting, waited_s)
        gauges = self._gauges
        state.gauges.append(lambda: gauges.read(state.step))

    def _begin(self, state: RunState) -> None:
        """Start the rollout workers, wait for frames, and mix from now on."""
        supervisor, gauges = self._supervisor, self._gauges
        assert supervisor is not None
        assert gauges is not None
        supervisor.start_workers(self._describe_workers(state))
        gauges.begin_rollouts()
        has_bar = self._is_training and sys.stderr.isatty()
        show = state.track if has_bar else WaitLines(sys.stderr)
        wait = partial(wait_for_frames, show=show, elapsed_s=lambda: self._elapsed_s(state))
        if not wait(state, supervisor, self._options):
            return

        def check() -> None:
            state.beat()  # this wait has a limit of its own
            supervisor.check()

        online = self._mixed.proportions.online
        feedback = self._feedback
        source = BufferSamples(self._buffer, online, state.experiment.seed, feedback.send)
        prefetch = self._prefetch = Prefetch(
            source,
            partial(to_batch, self._mixed.dataset),
            first=state.step,
            depth=self._options.prefetch,
            limit_s=lambda: _patience_s(int(supervisor.buffer.get("disk_bytes", 0))),
            check=check,
        )

        def take() -> Batch:
            batch, drawn = prefetch.take()
            gauges.note_versions(drawn.versions, state.step)
            feedback.expect(drawn.rows)
            return batch

        if self._options.sampling == "prioritized":
            feedback.listen(state.trainer)
        self._mixed.begin(take)

    def _describe_workers(self, state: RunState) -> list[dict[str, Any]]:
        """Return what each rollout worker is made from, as plain data."""
        options = self._options
        shared = {
            "text": resolved_yaml(self._loaded),
            "norm_stats": state.normalizer.to_json(),
            "evaluator": self._rollouts,
            "workers": options.rollout_workers,
            "replay_buffer": options.replay_buffer,
            "policy_state_manager": options.policy_state_manager,
            "out_dir": str(self._out_dir),
            "seed": state.experiment.seed,
            "folder": str(Path.cwd()),
            "path": list(sys.path),
            "software": describe_software(self._loaded),
        }
        return [
            {**shared, "producer": f"rollout-{number}", "number": number}
            for number in range(options.rollout_workers)
        ]

    def _elapsed_s(self, state: RunState) -> float:
        return state.wall_s + time.perf_counter() - self._began

    def _waited_s(self) -> float:
        return 0.0 if self._prefetch is None else self._prefetch.wait_s


def _patience_s(disk_bytes: int) -> float:
    """Return how long the buffer may take to start again: it reads and hashes all it has."""
    return _START_S + disk_bytes / _SLOWEST_BYTES_PER_S


def _make_buffer(options: Options, mixed: MixedData, out_dir: Path) -> NamedActor:
    files = [file for file in (out_dir / "replay").glob("*") if file.is_file()]
    make = partial(
        start_buffer,
        str(out_dir / "replay"),
        _describe_keys(mixed.dataset),
        name=options.replay_buffer,
        timeout_s=_patience_s(sum(file.stat().st_size for file in files)),
        capacity=options.capacity,
        keep=options.keep,
        sampling=options.sampling,
        priority_exponent=options.priority_exponent,
    )
    return NamedActor("replay buffer", options.replay_buffer, make)


def _make_manager(options: Options, out_dir: Path) -> NamedActor:
    name, folder = options.policy_state_manager, str(out_dir / "checkpoints")
    averaged = options.acting_weights == "averaged"
    make = partial(start_actor, name, PolicyStateManager, folder, averaged=averaged)
    return NamedActor("policy state manager", name, make)


def _describe_keys(dataset: Any) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "shape": list(key.shape),
            "dtype": key.dtype,
            "offsets": None if key.offsets is None else list(key.offsets),
        }
        for name, key in dataset.episode_keys.items()
    }
