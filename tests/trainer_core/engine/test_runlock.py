"""One run at a time in a folder, and never locked out by the dead."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from policy_constructor.errors import ConfigError
from trainer_core.engine.runlock import LOCK, hold_again, hold_run_folder
from trainer_core.errors import StorageError, UserError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.trainer_core.conftest import Train

HOLDER = """
import os, sys, time
from pathlib import Path
from trainer_core.engine.runlock import hold_run_folder
with hold_run_folder(Path(sys.argv[1])):
    child = os.fork()  # as a loader process, which outlives a killed run for a while
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


def test_second_run_is_told_who_is_in_the_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(UserError) as caught, hold_run_folder(tmp_path):
                pass
            holder.kill()
            holder.wait(10)
            with hold_run_folder(tmp_path):  # the killed run's child lives on
                assert str(os.getpid()) in (tmp_path / LOCK).read_text()
        finally:
            holder.kill()
            os.kill(child, signal.SIGKILL)
    assert str(caught.value) == (
        f"{tmp_path} is in use by process {holder.pid} on {socket.gethostname()}; wait for it, or "
        "give this run another run.out_dir"
    )
    assert not list(tmp_path.iterdir())


def test_run_inside_a_run_is_refused_and_does_not_open_the_door(tmp_path: Path) -> None:
    with hold_run_folder(tmp_path):
        for _ in range(2):
            with (
                pytest.raises(UserError, match=f"in use by this process \\({os.getpid()}\\)"),
                hold_run_folder(tmp_path),
            ):
                pass


@pytest.mark.parametrize("below", ["", "deeper/run"])
def test_folder_that_is_a_file_is_a_mistake_with_a_place(
    train: Train, tmp_path: Path, below: str
) -> None:
    file = tmp_path / "taken"
    file.write_text("x")
    with pytest.raises(ConfigError, match=f"{file} is a file; a run needs a folder"):
        train(out=f"taken/{below}")


class Removing:
    """A data set in whose third batch someone removes the run folder."""

    def __init__(self, dataset: Any, folder: Path) -> None:
        self.dataset, self.folder, self.batches = dataset, folder, 0

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Any) -> Any:
        self.batches += 1
        if self.batches == 3:
            shutil.rmtree(self.folder)
        return self.dataset.__getitems__(indices)


def test_run_whose_folder_is_removed_ends_with_all_that_it_still_has(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"

    def spy(experiment: Any) -> None:
        experiment.dataset = Removing(experiment.dataset, folder)

    saving = [{"_type_": "model_checkpoint", "every_n_steps": 5}]
    train("trainer.log_every_n_steps=1", spy=spy, callbacks=saving)
    assert caplog.messages == [
        f"{folder} was removed during the run, which goes on in a new folder"
    ]
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 13
    files = ("config.resolved.yaml", "summary.json", "checkpoints/step-000000013/MANIFEST.json")
    assert all((folder / name).is_file() for name in files)
    assert not (folder / LOCK).exists()


def test_folder_that_another_run_took_meanwhile_is_not_written(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with hold_run_folder(folder):
        folder.rename(tmp_path / "moved")
        command = [sys.executable, "-c", HOLDER, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            child = int(holder.stdout.readline())
            try:
                with pytest.raises(StorageError) as caught:
                    hold_again(folder)
            finally:
                holder.kill()
                os.kill(child, signal.SIGKILL)
    assert str(caught.value) == (
        f"cannot write {folder}: it was removed during the run; now {folder} is in use by process "
        f"{holder.pid} on {socket.gethostname()}; wait for it, or give this run another run.out_dir"
    )
    assert (folder / LOCK).exists()
