from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from policy_constructor.errors import ConfigError
from trainer_core.engine.limits import FirstSamples

if TYPE_CHECKING:
    from collections.abc import Callable

    Train = Callable[..., Any]


def sizes(train: Train, *changes: str) -> tuple[int, int | None, float]:
    seen: list[Any] = []
    result = train(*changes, spy=seen.append)
    val = seen[0].val_dataset
    return len(seen[0].dataset), None if val is None else len(val), result.metrics["loss"]


def test_few_batches_are_learnt_by_heart(train: Train) -> None:
    changes = ("trainer.max_steps=300", "optimizer.kwargs.lr=0.03", "model.sequential.layers.1.p=0")
    few, val, loss = sizes(train, *changes, "trainer.overfit_batches=1", "data.size=4000")
    assert (few, val) == (4, 4)
    assert loss < 0.05


def test_validation_stops_after_its_batches(train: Train) -> None:
    found = sizes(train, "data.val_size=11", "trainer.limit_val_batches=2")
    assert found[:2] == (22, 8)


def test_first_samples_tell_what_the_data_set_tells() -> None:
    class Told(list[int]):
        features: ClassVar[dict[str, int]] = {"x": 1}
        fps = 10.0

    told, silent = FirstSamples(Told([5, 6]), 1), FirstSamples([5, 6], 1)
    assert (told.features, told.fps) == ({"x": 1}, 10.0)
    assert (silent.features, silent.fps) == ({}, None)


def test_first_samples_are_read_one_by_one_too() -> None:
    first = FirstSamples([5, 6, 7], 2)
    assert (len(first), first[1]) == (2, 6)
    assert not hasattr(first, "__getitems__")


def test_absurd_batch_is_refused_at_once(train: Train) -> None:
    with pytest.raises(ConfigError, match=r"data\.batch_size: expected at most 16777216"):
        train("data.batch_size=1000000000000000")


def test_misfit_schedule_is_refused_before_data_are_made(train: Train, acme: None) -> None:
    brings = {"_type_": "adamw_warmup_cosine_decay", "warmup_steps": 99}
    with pytest.raises(ConfigError, match=r"optimizer\.warmup_steps"):
        train(
            "data={_type_: empty, batch_size: 4, _merge_: replace}",
            "scheduler=null",
            optimizer=brings,
        )


def test_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "trainer_core", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("trainer-core ")
