"""Grids for runners that train nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trainer_core.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def sweep(
    fake_wheel: Callable[..., Path], experiment_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Return a function that sweeps `run.seed` over two values."""
    source = (Path(__file__).parents[1] / "data" / "acme_grid.py").read_text()
    names = {
        "fake": "acme_grid:Runner",
        "grid": "acme_grid:GridRunner",
        "telling": "acme_grid:TellingRunner",
        "leaving": "acme_grid:LeavingRunner",
    }
    site = fake_wheel("acme-grid", {"trainer_core.runners": names}, {"acme_grid.py": source})
    monkeypatch.setenv("PYTHONPATH", str(site))

    def start(*words: str, kind: str = "fake", grid: str = "seed=range(2)") -> int:
        fixed = [f"runner={{_type_: {kind}}}", "run.out_dir=out"]
        return main(["run", str(experiment_file), *fixed, *words, "--sweep", grid])

    return start
