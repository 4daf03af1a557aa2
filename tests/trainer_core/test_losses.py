from __future__ import annotations

from typing import cast

import pytest
from torch import nn

from trainer_core.losses import TorchLoss


def test_factory_returns_its_module() -> None:
    fn = nn.MSELoss()
    assert TorchLoss(fn).build() is fn


def test_anything_but_a_module_is_refused() -> None:
    with pytest.raises(ValueError, match="'fn' must be a module such as") as caught:
        TorchLoss(cast("nn.Module", 3))
    assert str(caught.value).endswith("not 3")
