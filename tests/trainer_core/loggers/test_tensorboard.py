"""Against the real package: what is written is read back by TensorBoard's own reader."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.errors import MissingPackageError
from trainer_core.loggers.tensorboard import TensorboardLogger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer_core.results import RunResult

LOGGERS = [{"_type_": "tensorboard"}, {"_type_": "jsonl"}]


def read(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of protobuf's, about TensorBoard's own code
        from tensorboard.backend.event_processing import event_accumulator  # type: ignore[import-untyped] # it has no types

        events = event_accumulator.EventAccumulator(str(folder))
        events.Reload()
    return events


def test_curve_is_there_with_its_steps(train: Callable[..., RunResult], tmp_path: Path) -> None:
    result = train(loggers=LOGGERS)
    events = read(tmp_path / "run" / "tensorboard")
    points = [(event.step, event.value) for event in events.Scalars("loss")]
    assert [step for step, _ in points] == [3, 6, 9, 12, 13]
    assert points[-1][1] == pytest.approx(result.metrics["loss"], rel=1e-6)


def test_steps_that_are_done_again_are_there_once(
    train: Callable[..., RunResult], tmp_path: Path
) -> None:
    saves = {"_type_": "model_checkpoint", "every_n_steps": 4, "every_minutes": None}
    train(loggers=LOGGERS, callbacks=[{**saves, "keep_last": 9}])
    train(loggers=LOGGERS, callbacks=[{**saves, "keep_last": 9}], resume=4)
    events = read(tmp_path / "run" / "tensorboard")
    assert [event.step for event in events.Scalars("loss")] == [3, 6, 9, 12, 13]


def test_configuration_is_there_without_secrets(tmp_path: Path) -> None:
    logger = TensorboardLogger()
    config = {"lr": 0.1, "login": {"api_key": "hidden"}, "data": {"tokenizer": "bytes"}}
    logger.start({"name": "tiny", "out_dir": str(tmp_path), "config": config})
    logger.log({"loss": float("nan"), "ein Ü/" + "x" * 3000: 1.0}, 1)
    logger.finish("completed")
    files = [path.read_bytes() for path in (tmp_path / "tensorboard").iterdir()]
    assert any(b"bytes" in content for content in files)
    assert any(b"_hparams_" in content for content in files)
    assert not any(b"hidden" in content for content in files)


def test_missing_package_names_its_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingPackageError) as caught:
        TensorboardLogger().start({"name": "tiny", "out_dir": str(tmp_path)})
    assert str(caught.value).endswith("pip install 'trainer-core[tensorboard]'")
