"""Runs in LeRobot's own environment: opens a data set, reads items or writes episodes on request.

Started by `lerobot_peer.py`. Requests and answers are JSON, a line each; times are CPU times of the
process. torchvision is replaced by a stub: only image cells use it, to make tensors.
"""

from __future__ import annotations

import importlib.machinery
import json
import sys
import time
import types
from typing import Any


def stub_torchvision() -> None:
    """Put empty modules in the place of torchvision, which has no build for this torch."""
    try:
        import torchvision  # type: ignore[import-not-found]  # noqa: F401 - used where it is
    except ImportError:
        pass
    else:
        return
    names = ("", ".io", ".transforms", ".transforms.functional", ".transforms.v2")
    for name in (*names, ".transforms.v2.functional"):
        module: Any = types.ModuleType("torchvision" + name)
        module.__path__ = []
        module.__version__ = "0.0.0"
        module.__spec__ = importlib.machinery.ModuleSpec("torchvision" + name, None)
        module.__getattr__ = empty_class
        sys.modules["torchvision" + name] = module
        parent, _, child = ("torchvision" + name).rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    sys.modules["torchvision.transforms"].ToTensor = lambda: to_tensor  # type: ignore[attr-defined] # a stub


def empty_class(name: str) -> type:
    """Return a class for any name but those that Python itself looks for."""
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


def to_tensor(picture: Any) -> Any:
    """Return a PIL image as float32 (C, H, W) in [0, 1], as torchvision does."""
    import numpy  # noqa: ICN001 - of the other environment
    import torch

    pixels = torch.from_numpy(numpy.array(picture))
    return pixels.permute(2, 0, 1).contiguous().float() / 255


def main() -> None:
    """Open the data set that the first argument names and answer requests until the input ends."""
    stub_torchvision()
    import lerobot  # type: ignore[import-not-found] # only in its own environment
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # type: ignore[import-not-found] # only there

    torch.set_num_threads(1)
    options = json.loads(sys.argv[1])
    if "write" in options:
        spec = options["write"]
        for feature in spec["features"].values():
            feature["shape"] = tuple(feature["shape"])  # what is added must equal it
        began = time.process_time()
        dataset = LeRobotDataset.create(
            "benchmark/written", fps=30, features=spec["features"], root=spec["root"]
        )
        for _ in range(spec["episodes"]):
            for _ in range(spec["length"]):
                row = {
                    name: torch.zeros(feature["shape"]).numpy()
                    for name, feature in spec["features"].items()
                }
                dataset.add_frame(row | {"task": "benchmark"})
            dataset.save_episode()
        getattr(dataset, "finalize", lambda: None)()
        answer({"seconds": time.process_time() - began, "version": lerobot.__version__})
        return
    began = time.process_time()
    dataset = LeRobotDataset(
        "benchmark/read",
        root=options["root"],
        delta_timestamps=options["delta_timestamps"],
        video_backend=options.get("video_backend"),
    )
    answer({"seconds": time.process_time() - began, "version": lerobot.__version__})
    for line in sys.stdin:
        began = time.process_time()
        for index in json.loads(line):
            item = dataset[index]
        seconds = time.process_time() - began
        sums = {key: float(item[key].double().sum()) for key in options["delta_timestamps"]}
        answer({"seconds": seconds, "sums": sums})


def answer(document: dict[str, Any]) -> None:
    """Write an answer."""
    sys.stdout.write("ANSWER " + json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
