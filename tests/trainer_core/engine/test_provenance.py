from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from trainer_core.engine.provenance import warn_of_other_libraries, warn_of_other_wheels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer_core.results import RunResult


def test_resuming_with_another_version_names_the_wheel(
    acme: None,
    train: Callable[..., RunResult],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainer = {"_type_": "plain", "max_steps": 4}
    train("trainer.max_steps=2", trainer=trainer)
    info = tmp_path / "site-acme" / "acme-1.0.dist-info"
    info.rename(info.with_name("acme-1.1.dist-info"))

    with caplog.at_level(logging.WARNING):
        train(trainer=trainer)

    message = "step-000000002 was written with other wheels: acme 1.0 is now 1.1"
    assert message in [record.message for record in caplog.records]


def test_resuming_with_the_same_wheels_warns_of_nothing(
    train: Callable[..., RunResult], caplog: pytest.LogCaptureFixture
) -> None:
    train("trainer.max_steps=2")
    with caplog.at_level(logging.WARNING):
        train("trainer.max_steps=4")

    assert not [record for record in caplog.records if "wheels" in record.message]


def test_run_and_checkpoint_record_the_wheels(
    train: Callable[..., RunResult], tmp_path: Path
) -> None:
    train("trainer.max_steps=2")

    of_run = json.loads((tmp_path / "run" / "plugins.json").read_text())
    checkpoint = tmp_path / "run" / "checkpoints" / "step-000000002"
    assert json.loads((checkpoint / "plugins.json").read_text()) == of_run
    assert {"policy-constructor", "trainer-core"} == set(of_run["wheels"])
    assert len(of_run["digest"]) == 64


@pytest.mark.parametrize("text", [None, "{", '{"schema": 1}'])
def test_checkpoint_without_a_record_is_no_reason_to_warn(
    text: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if text is not None:
        (tmp_path / "plugins.json").write_text(text)

    warn_of_other_wheels(tmp_path, '{"wheels": {}}')

    assert not caplog.records


def test_other_versions_of_what_computes_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = {"python": "3.11.7", "packages": {"torch": "2.12.0", "numpy": "2.3.0"}}
    (tmp_path / "environment.json").write_text(json.dumps(before))
    now = {"python": "3.11.7", "packages": {"torch": "2.13.0", "numpy": "2.3.0"}}
    warn_of_other_libraries(tmp_path, json.dumps(now))
    warn_of_other_libraries(tmp_path, json.dumps(before))
    warn_of_other_libraries(tmp_path / "nothing", json.dumps(now))
    message = f"{tmp_path.name} was written with other libraries: torch 2.12.0 is now 2.13.0"
    assert caplog.messages == [message]
