"""What learning online costs the learner: publishing weights, and waiting for samples.

    OMP_NUM_THREADS=1 python -m benchmarks.online_learner [--rounds N] [--steps N]

Both sides take turns in one process, with actors in a Ray cluster on this machine; medians. `path`
is how long the training stands still, `cpu` the processor time of its thread meanwhile.

- publish: 100 MB of weights. Naive: `ray.put(state_dict)`, then the manager is told.
- wait: a training step of an MLP, half of whose batch of 256 windows comes from a warm buffer.
  Naive: `ray.get` of the sample when it is needed, then the conversion.
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

from trainer_ray.cluster import cluster
from trainer_ray.online.actors import NamedActor, start_actor
from trainer_ray.online.buffer_actor import start_buffer
from trainer_ray.online.options import Options
from trainer_ray.online.policy_state import PolicyStateManager
from trainer_ray.online.prefetch import Prefetch
from trainer_ray.online.publishing import Publisher
from trainer_ray.online.samples import BufferSamples, to_batch

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
    publisher = Publisher(models, ray.put, partial(manager.call, "publish", limit_s=_LIMIT_S))

    def ours(version: int) -> None:
        assert publisher.publish(version)

    def naive(version: int) -> None:
        layer = {"refs": [ray.put(models.state_dict())], "index": {}}
        manager.call("publish", version, layer, layer, limit_s=_LIMIT_S)

    seconds: dict[str, list[tuple[float, float]]] = {"ours": [], "naive": []}
    for turn in range(2 * (rounds + 2)):
        name, way = [("ours", ours), ("naive", naive)][turn % 2]
        seconds[name].append(_time(lambda way=way, turn=turn: way(turn)))  # type: ignore[misc] # bound here
        while manager.call("describe", limit_s=_LIMIT_S)["version"] < turn:
            time.sleep(0.005)
    publisher.close()
    manager.end()
    return {name: _medians(found[2:]) for name, found in seconds.items()}


def time_waits(steps: int, folder: str) -> dict[str, tuple[float, float]]:
    """Return the share of the time that a step waits, and a step's milliseconds, for each way."""
    name = "samples"
    buffer = NamedActor(
        "buffer", name, partial(start_buffer, folder, KEYS, name=name, capacity=100_000)
    )
    buffer.start()
    _fill(buffer)
    source = BufferSamples(buffer, ONLINE, 0)
    convert = partial(to_batch, Windows())
    prefetch = Prefetch(source, convert)
    learn = _make_learner()
    numbers = iter(range(10**9))

    def fetch() -> Any:
        sample = source.fetch(source.ask(next(numbers)), _LIMIT_S)
        return convert(sample)  # type: ignore[arg-type] # it is one: there is no limit to speak of

    ways: dict[str, Callable[[], Any]] = {"ours": prefetch.take, "naive": fetch}
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "naive": []}
    for turn in range(2 * 6):
        way = "ours" if turn % 2 == 0 else "naive"
        found[way].append(_learn(learn, ways[way], steps))
    prefetch.close()
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


def _make_learner() -> Callable[[dict[str, Any]], None]:
    """Return a training step; the other half of its batch is always the same."""
    sizes = (2 * 39, 512, 512, 512, 4 * WINDOW)
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    model = nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1])
    optimizer = torch.optim.AdamW(model.parameters())
    own = {"observation.state": torch.randn(BATCH - ONLINE, 2, 39)}
    own["action"] = torch.randn(BATCH - ONLINE, WINDOW, 4)

    def step(new: dict[str, Any]) -> None:
        batch = {key: torch.cat([own[key], new[key]]) for key in own}
        loss = (model(batch["observation.state"].flatten(1)) - batch["action"].flatten(1)).square()
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()

    return step


def _learn(
    step: Callable[[dict[str, Any]], None], take: Callable[[], Any], steps: int
) -> tuple[float, float]:
    """Return the share of waiting and the milliseconds of a step; the first ones do not count."""
    waited = 0.0
    for number in range(steps + 5):
        if number == 5:
            waited, began = 0.0, time.perf_counter()
        asked = time.perf_counter()
        batch, _ = take()
        waited += time.perf_counter() - asked
        step(batch)
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
    ours, naive = published["ours"], published["naive"]
    print(f"publish {LAYERS * WIDTH**2 * 4 / 1e6:.0f} MB   path ms   cpu ms")
    print(f"  naive           {naive[0]:7.1f}  {naive[1]:7.1f}")
    print(f"  ours            {ours[0]:7.1f}  {ours[1]:7.1f}   {naive[0] / ours[0]:.1f} times less")
    print(f"  goal: at most {GOAL_PUBLISH_MS:g} ms: {_verdict(ours[0] <= GOAL_PUBLISH_MS)}")
    ours, naive = waits["ours"], waits["naive"]
    print("wait for samples  share     step ms")
    print(f"  naive           {naive[0]:6.1%}  {naive[1]:7.2f}")
    print(f"  ours            {ours[0]:6.2%}  {ours[1]:7.2f}")
    print(f"  goal: below {GOAL_WAIT_SHARE:.0%}: {_verdict(ours[0] < GOAL_WAIT_SHARE)}")


def _verdict(is_reached: bool) -> str:
    return "reached" if is_reached else "not reached"


if __name__ == "__main__":
    main()
