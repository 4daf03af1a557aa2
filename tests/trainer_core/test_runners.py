from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer_core.experiment.loading import load_experiment
from trainer_core.runners import LocalRunner


def test_runner_trains_a_loaded_experiment(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["run"]["out_dir"] = str(tmp_path / "run")
    result = LocalRunner().run(load_experiment(tiny))
    assert (result.status, result.step, result.out_dir) == ("completed", 13, tmp_path / "run")
    assert set(result.metrics) >= {"loss", "lr", "samples_per_s"}


def test_dry_run_builds_and_writes_nothing(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["run"]["out_dir"] = str(tmp_path / "run")
    experiment = load_experiment(tiny)
    experiment.dry_run = True
    assert LocalRunner().run(experiment).status == "checked"
    assert not list(tmp_path.iterdir())


def test_run_resumes_as_the_file_says(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["run"]["out_dir"] = str(tmp_path / "run")
    LocalRunner().run(load_experiment(tiny, ["trainer.max_steps=4"]))
    LocalRunner().run(load_experiment(tiny, ["run.resume=4"]))
    LocalRunner().run(load_experiment(tiny, ["run.resume=none", "trainer.max_steps=2"]))
    assert (tmp_path / "run" / "previous" / "001").is_dir()
    assert Path(tmp_path / "run" / "checkpoints" / "step-000000002").is_dir()
