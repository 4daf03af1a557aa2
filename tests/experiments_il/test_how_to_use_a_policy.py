"""The page's robot moves."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from trainer_core.engine.build import build_experiment
from trainer_core.engine.loop import fit
from trainer_core.experiment.loading import load_experiment
from trainer_core.ranks import LocalRanks

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-a-policy.md"
ROBOT = """
import numpy as np

moves = []


class Robot:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def go_home(self):
        self.left = 5

    def is_done(self):
        self.left -= 1
        return self.left < 0

    def state(self):
        return np.zeros(39)

    def move(self, action):
        moves.append(action)
"""


def test_example_moves_a_robot(
    experiment_of_states: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("my_robot.py").write_text(ROBOT, encoding="utf-8")
    out = Path("runs/pick-place-v3")
    loaded = load_experiment(experiment_of_states, [f"run.out_dir={out}", "trainer.max_steps=1"])
    fit(build_experiment(loaded, LocalRanks()), out)
    code = next(
        block
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        if "my_robot" in block
    )
    exec(compile(code, str(PAGE), "exec"), {})
    moves = sys.modules.pop("my_robot").moves
    assert len(moves) == 15
    assert {move.shape for move in moves} == {(4,)}
