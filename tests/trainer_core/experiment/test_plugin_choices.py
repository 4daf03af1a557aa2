from __future__ import annotations

from typing import Any

import pytest

from trainer_core import load_experiment


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("plugins.disable=[trainer-ray, Trainer_DDP, loss.l2, cb.ema, block.nn.ReLU]", []),
        (
            "plugins.disable=[trainer-rya]",
            [("nothing that is installed is called 'trainer-rya'", "trainer-ray")],
        ),
        (
            "plugins.disable=[cb.emma]",
            [("nothing that is installed is called 'cb.emma'", "cb.ema")],
        ),
        ("plugins.prefer={loss: {torch: trainer-core}}", []),
        ("plugins.prefer={lss: {torch: x}}", [("'lss' is no kind of component", "loss")]),
        (
            "plugins.prefer={loss: {trch: trainer-core}}",
            [("nothing that is installed is called 'loss.trch'", "torch")],
        ),
        (
            "plugins.prefer={loss: {torch: trainer-cor}}",
            [("no installed wheel 'trainer-cor' brings loss.torch", "trainer-core")],
        ),
    ],
)
def test_choice_without_effect_is_a_warning(
    override: str, expected: list[tuple[str, str]], tiny: dict[str, Any]
) -> None:
    loaded = load_experiment(tiny, [override], strict=False)
    assert loaded.problems == []
    assert [(w.message, w.suggestions[0]) for w in loaded.warnings] == expected
