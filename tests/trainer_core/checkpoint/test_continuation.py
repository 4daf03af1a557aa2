from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trainer_core.errors import CheckpointError

if TYPE_CHECKING:
    from tests.trainer_core.conftest import Train


def test_other_data_is_refused_key_by_key(train: Train) -> None:
    train("trainer.max_steps=4")
    with pytest.raises(CheckpointError) as caught:
        train("data.size=23", "data.data_seed=5")
    message = str(caught.value)
    assert "was trained on other data:" in message
    assert "\n  data.data_seed was not given and is 5\n  data.size was 22 and is 23\n" in message
    assert "--resume none" in message


def test_chosen_checkpoint_goes_on_with_other_data(
    train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    train("trainer.max_steps=4")
    assert train("data.size=23", resume=4).step == 13
    assert "data.size was 22 and is 23" in caplog.text
