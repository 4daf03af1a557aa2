"""Wheels that exist only as metadata, and an experiment file that has no mistake."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from trainer_core.experiment.loading import load_experiment
from trainer_core.results import RunResult

FakeWheel = Callable[..., Path]


@pytest.fixture
def fake_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeWheel:
    """Install a wheel: entry points by group, and modules by file name."""

    def install(
        name: str,
        groups: Mapping[str, Mapping[str, str]],
        modules: Mapping[str, str] | None = None,
        version: str = "1.0",
    ) -> Path:
        site = tmp_path / f"site-{name}"
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = []
        for group, entries in groups.items():
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for file, text in (modules or {}).items():
            (site / file).write_text(text)
        monkeypatch.syspath_prepend(site)
        return site

    return install


EXPERIMENT = Path(__file__).parent / "data" / "experiment.yaml"


@pytest.fixture
def experiment_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment file without a mistake, in the working folder; its name is exp.yaml."""
    monkeypatch.chdir(tmp_path)
    file = Path("exp.yaml")
    file.write_text(EXPERIMENT.read_text())
    return file


Train = Callable[..., RunResult]


@pytest.fixture
def tiny() -> dict[str, Any]:
    """An experiment that trains in a blink: dropout, clipping, a schedule, a short epoch."""
    return {
        "schema_version": 1,
        "run": {"name": "tiny", "out_dir": "unset", "device": "cpu"},
        "model": {
            "sequential": {
                "layers": [
                    {"_type_": "nn.Linear", "in_features": 3, "out_features": 8},
                    {"_type_": "nn.Dropout", "p": 0.3},
                    {"_type_": "nn.Linear", "in_features": 8, "out_features": 2},
                ]
            }
        },
        "data": {
            "_type_": "random_regression",
            "x_shape": [3],
            "y_shape": [2],
            "size": 22,
            "batch_size": 4,
        },
        "io": {"_type_": "mapping", "model_kwargs": {"x": ["x"]}, "targets": {"y": ["y"]}},
        "loss": {"_type_": "torch", "fn": {"_type_": "nn.MSELoss"}},
        "optimizer": {"_type_": "torch", "type": "AdamW", "kwargs": {"lr": 0.01}},
        "scheduler": {"_type_": "torch", "type": "CosineAnnealingLR", "kwargs": {"T_max": 13}},
        "trainer": {
            "_type_": "default",
            "max_steps": 13,
            "log_every_n_steps": 3,
            "grad_clip_norm": 1.0,
        },
        "loggers": [{"_type_": "jsonl"}],
    }


@pytest.fixture
def acme(fake_wheel: FakeWheel) -> None:
    """Install the components of `data/acme_parts.py`."""
    parts = {
        "trainers": {"plain": "Plain", "plain_validated": "PlainValidated"},
        "datasets": {"empty": "EmptyData", "wrong": "WrongData", "shifted": "ShiftedData"},
        "evaluators": {"counting": "Evaluator"},
        "metrics": {"mean_prediction": "MeanPrediction"},
    }
    groups = {
        f"trainer_core.{group}": {key: f"acme_parts:{name}" for key, name in keys.items()}
        for group, keys in parts.items()
    }
    source = (EXPERIMENT.parent / "acme_parts.py").read_text()
    fake_wheel("acme", groups, {"acme_parts.py": source})
    sys.modules.pop("acme_parts", None)


@pytest.fixture
def train(tiny: dict[str, Any], tmp_path: Path) -> Train:
    """Train the tiny experiment in `tmp_path / out`, with changes and extra sections."""

    def run(
        *changes: str,
        out: str = "run",
        resume: str | int = "auto",
        spy: Any = None,
        **sections: Any,
    ) -> RunResult:
        from trainer_core.engine.build import build_experiment
        from trainer_core.engine.loop import fit
        from trainer_core.ranks import LocalRanks

        config = {key: value for key, value in (tiny | sections).items() if value is not None}
        config["run"] = config["run"] | {"out_dir": str(tmp_path / out)}
        experiment = build_experiment(load_experiment(config, changes), LocalRanks())
        if spy is not None:
            spy(experiment)
        return fit(experiment, tmp_path / out, resume=resume)

    return run
