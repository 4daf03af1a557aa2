"""What learning online costs the learner: publishing weights, and waiting for samples.

    OMP_NUM_THREADS=1 python -m benchmarks.online_learner [--rounds N] [--steps N]

All ways take turns in one process, with actors in a Ray cluster on this machine; medians. `path`
is how long the training stands still, `cpu` the processor time of its thread meanwhile.

- publish: 100 MB of weights. Naive: `ray.put(state_dict)`, then the manager is told. Averaged:
  what `cb.ema` keeps. Schedule-free: the optimizer computes averages in the copy.
- wait: a training step of an MLP, half of whose batch of 256 windows comes from a warm buffer.
  Naive: `ray.get` of the sample when it is needed, then the conversion. Prioritized: the buffer
  draws by the losses that the step tells.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
import torch
from torch import nn

from experiments_il.schedule_free import RAdamScheduleFree
from trainer_ray.cluster import cluster
from trainer_ray.online.acting_weights import Averages
from trainer_ray.online.actors import NamedActor, start_actor
from trainer_ray.online.buffer_actor import start_buffer
from trainer_ray.online.feedback import Feedback
from trainer_ray.online.options import Options
from trainer_ray.online.packed_weights import named_tensors
from trainer_ray.online.policy_state import PolicyStateManager
from trainer_ray.online.prefetch import Prefetch
from trainer_ray.online.publishing import Publisher
from trainer_ray.online.samples import BufferSamples, Drawn, to_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LAYERS, WIDTH = 25, 1024  # 25 times 4.2 MB
BATCH, ONLINE, WINDOW = 256, 128, 16
STEPS, EPISODES = 100, 200
KEYS: dict[str, dict[str, Any]] = {
    "observation.state": {"shape": [39], "dtype": "float32", "offsets": [-1, 0]},
    "action": {"shape": [4], "dtype": "float32", "offsets": list(range(WINDOW))},
}
GOAL_PUBLISH_MS, GOAL_WAIT_SHARE = 35.0, 0.02
_LIMIT_S = 60.0


class Windows:
    """A data set whose samples of new episodes need no change."""

    def batch_of_windows(self, windows: Mapping[str, Any]) -> dict[str, Any]:
        """Return tensors of the same values."""
        return {key: torch.from_numpy(values) for key, values in windows.items()}


def time_publications(rounds: int) -> dict[str, tuple[float, float]]:
    """Return milliseconds on the learner's path, and of its processor, for each way."""
    models = nn.ModuleDict(
        {"policy": nn.Sequential(*[nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)])}
    )
    manager = NamedActor(
        "manager", "weights", partial(start_actor, "weights", PolicyStateManager, "")
    )
    manager.start()
    send = partial(manager.call, "publish", limit_s=_LIMIT_S)
    publishers = {
        name: Publisher(models, ray.put, send, averages)
        for name, averages in _make_averages(models).items()
    }

    def naive(version: int) -> None:
        layer = {"refs": [ray.put(models.state_dict())], "index": {}}
        manager.call("publish", version, layer, layer, limit_s=_LIMIT_S)

    ways: dict[str, Callable[[int], Any]] = {
        name: publisher.publish for name, publisher in publishers.items()
    }
    ways["naive"] = naive
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(len(ways) * (rounds + 2)):
        name = list(ways)[turn % len(ways)]
        seconds[name].append(_time(partial(ways[name], turn)))
        while manager.call("describe", limit_s=_LIMIT_S)["version"] < turn:
            time.sleep(0.005)
    for publisher in publishers.values():
        publisher.close()
    manager.end()
    return {name: _medians(found[2:]) for name, found in seconds.items()}


def _make_averages(models: nn.ModuleDict) -> dict[str, Averages]:
    """Return what each way of ours publishes."""
    kept = {name: each.detach().clone() for name, each in named_tensors(models).items()}
    optimizer = RAdamScheduleFree(models.parameters())
    for parameter in models.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return {
        "ours": Averages(),
        "averaged": Averages([lambda: kept]),
        "schedule-free": Averages(optimizers=[optimizer]),
    }


def time_waits(steps: int, folder: str) -> dict[str, tuple[float, float]]:
    """Return the share of the time that a step waits, and a step's milliseconds, for each way."""
    buffers = {
        sampling: NamedActor(
            "buffer",
            sampling,
            partial(
                start_buffer,
                f"{folder}/{sampling}",
                KEYS,
                name=sampling,
                capacity=100_000,
                sampling=sampling,
            ),
        )
        for sampling in ("uniform", "prioritized")
    }
    for buffer in buffers.values():
        buffer.start()
        _fill(buffer)
    feedback = Feedback(buffers["prioritized"], np.arange(BATCH) >= BATCH - ONLINE)
    feedback.listen(object())  # the step below is the trainer
    source = BufferSamples(buffers["uniform"], ONLINE, 0)
    prioritized = BufferSamples(buffers["prioritized"], ONLINE, 0, feedback.send)
    convert = partial(to_batch, Windows())
    numbers = iter(range(10**9))

    def fetch() -> Any:
        sample = source.fetch(source.ask(next(numbers)), _LIMIT_S)
        return convert(sample)  # type: ignore[arg-type] # it is one: there is no limit to speak of

    learn, tells = _make_learner(), _make_learner(feedback)
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "prioritized": [], "naive": []}
    for turn in range(3 * 6):
        way = list(found)[turn % 3]
        if way == "naive":
            found[way].append(_learn(learn, fetch, steps))
            continue
        own = source if way == "ours" else prioritized
        prefetch = Prefetch(own, convert)  # the other way's must not work meanwhile
        found[way].append(_learn(learn if way == "ours" else tells, prefetch.take, steps))
        prefetch.close()
    for buffer in buffers.values():
        buffer.end()
    return {way: _medians(values[1:], 1.0) for way, values in found.items()}


def _fill(buffer: NamedActor) -> None:
    random = np.random.default_rng(0)
    for number in range(EPISODES):
        columns = {
            key: random.standard_normal((STEPS, *about["shape"]), dtype=np.float32)
            for key, about in KEYS.items()
        }
        episode = {"columns": columns, "success": True, "version": 0}
        buffer.call("add", "benchmark", number, [episode], limit_s=_LIMIT_S)


def _make_learner(feedback: Feedback | None = None) -> Callable[[dict[str, Any], Drawn], None]:
    """Return a training step; the other half of its batch is always the same.

    Args:
        feedback: Who is told the losses of samples; None: they are not computed.
    """
    sizes = (2 * 39, 512, 512, 512, 4 * WINDOW)
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    model = nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1])
    optimizer = torch.optim.AdamW(model.parameters())
    own = {"observation.state": torch.randn(BATCH - ONLINE, 2, 39)}
    own["action"] = torch.randn(BATCH - ONLINE, WINDOW, 4)

    def step(new: dict[str, Any], drawn: Drawn) -> None:
        batch = {key: torch.cat([own[key], new[key]]) for key in own}
        loss = (model(batch["observation.state"].flatten(1)) - batch["action"].flatten(1)).square()
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        if feedback is not None:
            feedback.expect(drawn.rows)
            feedback.note(loss.detach().mean(1))

    return step


def _learn(
    step: Callable[[dict[str, Any], Drawn], None], take: Callable[[], Any], steps: int
) -> tuple[float, float]:
    """Return the share of waiting and the milliseconds of a step; the first ones do not count."""
    waited = 0.0
    for number in range(steps + 5):
        if number == 5:
            waited, began = 0.0, time.perf_counter()
        asked = time.perf_counter()
        batch, drawn = take()
        waited += time.perf_counter() - asked
        step(batch, drawn)
    passed = time.perf_counter() - began
    return waited / passed, 1e3 * passed / steps


def _time(action: Callable[[], None]) -> tuple[float, float]:
    began, cpu = time.perf_counter(), time.thread_time()
    action()
    return time.perf_counter() - began, time.thread_time() - cpu


def _medians(rows: list[tuple[float, float]], scale: float = 1e3) -> tuple[float, float]:
    return (
        statistics.median(row[0] for row in rows) * scale,
        statistics.median(row[1] for row in rows) * scale,
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="publications of each way")
    parser.add_argument("--steps", type=int, default=100, help="training steps of each turn")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with cluster(Options()), tempfile.TemporaryDirectory() as folder:
        published = time_publications(options.rounds)
        waits = time_waits(options.steps, folder)
    naive = published["naive"]
    print(f"publish {LAYERS * WIDTH**2 * 4 / 1e6:.0f} MB   path ms   cpu ms")
    for name, (path, cpu) in published.items():
        print(f"  {name:<14} {path:8.1f} {cpu:8.1f}   {naive[0] / path:.1f} times less")
    slowest = max(path for name, (path, _) in published.items() if name != "naive")
    print(f"  goal: at most {GOAL_PUBLISH_MS:g} ms: {_verdict(slowest <= GOAL_PUBLISH_MS)}")
    print("wait for samples   share  step ms")
    for name, (share, step) in waits.items():
        print(f"  {name:<14} {share:8.2%} {step:8.2f}")
    largest = max(share for name, (share, _) in waits.items() if name != "naive")
    print(f"  goal: below {GOAL_WAIT_SHARE:.0%}: {_verdict(largest < GOAL_WAIT_SHARE)}")


def _verdict(is_reached: bool) -> str:
    return "reached" if is_reached else "not reached"


if __name__ == "__main__":
    main()
