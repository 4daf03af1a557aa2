from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from policy_constructor.errors import ConfigError
from trainer_core.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.trainer_core.conftest import Train


def test_other_data_is_refused_key_by_key(train: Train) -> None:
    train("trainer.max_steps=4")
    with pytest.raises(CheckpointError) as caught:
        train("data.size=23", "data.data_seed=5")
    message = str(caught.value)
    assert "was trained with other settings:" in message
    assert "\n  data.data_seed was not given and is 5 (<cli>:2:16)" in message
    assert "\n  data.size was 22 and is 23 (<cli>:1:11)\n  samples was 22 and is 23\n" in message
    assert message.endswith("--resume none, or go on all the same with --allow data")


def test_chosen_checkpoint_goes_on_with_other_data(
    train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    train("trainer.max_steps=4")
    assert train("data.size=23", resume=4).step == 13
    assert "data.size was 22 and is 23" in caplog.text


@pytest.mark.parametrize(
    ("topic", "change"),
    [
        ("batch_size", "data.batch_size=2"),
        ("data", "data.noise=0.3"),
        ("loss", "loss.fn._type_=nn.L1Loss"),
        ("model", "model.sequential.layers.1.p=0.1"),
        ("optimizer", "optimizer.kwargs.lr=0.1"),
        ("precision", "run.deterministic=true"),
        ("schedule", "scheduler.kwargs.T_max=20"),
        ("seed", "run.seed=3"),
        ("trainer", "trainer.grad_clip_norm=2.0"),
    ],
)
def test_each_topic_is_refused_unless_it_is_allowed(train: Train, topic: str, change: str) -> None:
    train("trainer.max_steps=4")
    with pytest.raises(CheckpointError, match=f"--allow {topic}$"):
        train(change)
    assert train(change, f"run.allow=[{topic}]").step == 13


def test_what_changes_nothing_may_change(train: Train) -> None:
    train("trainer.max_steps=4")
    harmless = ["trainer.log_every_n_steps=2", "run.threads=1", "trainer.grad_accum_steps=2"]
    assert train(*harmless).step == 13


def test_unknown_topic_is_refused_with_the_known_ones(train: Train) -> None:
    with pytest.raises(ConfigError, match="schedule"):
        train("run.allow=[shedule]")


def learning_rates(folder: Path) -> dict[int, float]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {record["step"]: record["lr"] for record in records if "lr" in record}


def test_prolonged_run_has_the_learning_rates_of_the_long_one(train: Train, tmp_path: Path) -> None:
    schedule = {"_type_": "torch", "type": "CosineAnnealingLR"}
    train("trainer.max_steps=20", out="long", scheduler=schedule)
    train("trainer.max_steps=6", out="cut", scheduler=schedule)
    train("trainer.max_steps=20", "run.allow=[schedule]", out="cut", scheduler=schedule)
    long, cut = learning_rates(tmp_path / "long"), learning_rates(tmp_path / "cut")
    assert {step: cut[step] for step in (9, 15, 20)} == pytest.approx(
        {step: long[step] for step in (9, 15, 20)}
    )


def test_other_learning_rate_counts_from_here(train: Train, tmp_path: Path) -> None:
    train("trainer.max_steps=6", scheduler=None)
    train("optimizer.kwargs.lr=0.1", "run.allow=[optimizer]", scheduler=None)
    assert learning_rates(tmp_path / "run")[9] == 0.1


def test_another_optimizer_begins_anew(train: Train, caplog: pytest.LogCaptureFixture) -> None:
    train("trainer.max_steps=6", scheduler=None)
    sgd = {"_type_": "torch", "type": "SGD", "kwargs": {"lr": 0.1}}
    assert train("run.allow=[optimizer]", optimizer=sgd, scheduler=None).step == 13
    assert "the optimizer 'default' is another one: its state begins anew" in caplog.messages


SEQUENTIAL = {
    "_type_": "sequential",
    "parts": [{"type": "LinearLR", "steps": 4}, {"type": "CosineAnnealingLR"}],
}


def test_sequential_schedule_goes_on_exactly_and_knows_its_length(
    train: Train, tmp_path: Path
) -> None:
    saving = [{"_type_": "model_checkpoint", "every_n_steps": 3, "keep_last": 9}]
    train("trainer.max_steps=9", scheduler=SEQUENTIAL, callbacks=saving)
    last = tmp_path / "run/checkpoints/step-000000009"
    whole = tmp_path / "whole"
    last.rename(whole)
    shutil.rmtree(tmp_path / "run/checkpoints/step-000000006")
    train("trainer.max_steps=9", scheduler=SEQUENTIAL, callbacks=saving)
    for file in ("model.model.safetensors", "optim.default.safetensors"):
        assert (whole / file).read_bytes() == (last / file).read_bytes()
    with pytest.raises(CheckpointError, match=r"max_steps was 9 and is 20"):
        train("trainer.max_steps=20", scheduler=SEQUENTIAL)
