"""Against the real package, in its offline mode: files only, no network."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.errors import MissingPackageError
from trainer_core.loggers.wandb import WandbLogger

if TYPE_CHECKING:
    from pathlib import Path

# W&B leaves a service process and threads behind: a process of its own keeps the tests clean.
SCRIPT = """\
import json, sys
from trainer_core.loggers.wandb import WandbLogger
out_dir, resumed = sys.argv[1], json.loads(sys.argv[2])
logger = WandbLogger(project="tests", mode="offline", tags=["a"])
config = {"lr": 0.1, "login": {"api_key": "hidden", "steps": [1, 2]}}
logger.start({"name": "tiny", "out_dir": out_dir, "config": config, "resumed_step": resumed})
run = logger._run
for step in (1, 2):
    logger.log({"loss": 1.0 / step}, step)
print(json.dumps({"id": run.id, "config": dict(run.config), "offline": run.settings._offline}))
logger.finish("completed")
"""


def log_in_a_process(out_dir: Path, resumed: int | None) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(out_dir), json.dumps(resumed)],
        capture_output=True,
        text=True,
        check=True,
        cwd=out_dir,
        timeout=120,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    described: dict[str, Any] = json.loads(lines[-1])
    return described


def test_offline_run_is_written_and_resumed(tmp_path: Path) -> None:
    first = log_in_a_process(tmp_path, None)
    second = log_in_a_process(tmp_path, 2)
    third = log_in_a_process(tmp_path, None)
    assert first["offline"]
    assert second["id"] == first["id"]
    assert third["id"] != first["id"]
    assert len(list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))) == 3


def test_secrets_of_the_configuration_are_not_sent(tmp_path: Path) -> None:
    config = log_in_a_process(tmp_path, None)["config"]
    assert config["lr"] == 0.1
    assert config["login"] == {"api_key": "<secret>", "steps": [1, 2]}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"hidden" in path.read_bytes() for path in files)


def test_missing_package_names_its_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingPackageError) as caught:
        WandbLogger("tests").start({"name": "tiny", "out_dir": str(tmp_path)})
    assert str(caught.value).endswith("pip install 'trainer-core[wandb]'")
