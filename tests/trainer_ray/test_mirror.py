"""Copies of checkpoints in a storage: whole or not there, whatever is cut off or damaged."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
import torch

from trainer_core.checkpoint.layout import MANIFEST, list_steps, read_manifest, seal_manifest
from trainer_core.checkpoint.reader import newest_valid, open_checkpoint
from trainer_core.checkpoint.writer import Snapshot, begin_checkpoint, commit_checkpoint
from trainer_core.distributed.place import Place
from trainer_core.distributed.worker import run_rank
from trainer_core.errors import CheckpointError, MissingPackageError, StorageError, UserError
from trainer_core.experiment.loading import load_experiment
from trainer_ray.mirror import CheckpointMirror
from trainer_ray.mirroring import Mirroring, agree_on_newest, mirrored
from trainer_ray.options import Options

if TYPE_CHECKING:
    from pathlib import Path

    from trainer_core.results import RunResult

LIMIT_S = 60
UNWATCHED = SimpleNamespace(pause=nullcontext)


def _commit(run: Path, step: int, size: int = 8) -> Path:
    root = run / "checkpoints"
    tensors = {"model.model.safetensors": {"weight": torch.full((size,), float(step))}}
    return commit_checkpoint(begin_checkpoint(root, step), Snapshot(step, tensors))


def _weight(folder: Path) -> float:
    return open_checkpoint(folder).read_tensors("model.model.safetensors")["weight"][0].item()


@pytest.fixture(params=["file", "memory"])
def mirror(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointMirror:
    """A storage of either kind, empty."""
    return CheckpointMirror(f"{request.param}://{tmp_path / 'storage'}")


def test_a_checkpoint_comes_back_as_it_was(mirror: CheckpointMirror, tmp_path: Path) -> None:
    assert mirror.steps() == []
    mirror.upload(_commit(tmp_path / "one", 3))
    mirror.upload(_commit(tmp_path / "one", 6))
    assert mirror.steps() == [6, 3]
    assert mirror.fetch_newest(tmp_path / "other" / "checkpoints") == 6
    assert _weight(tmp_path / "other" / "checkpoints" / "step-000000006") == 6


def test_a_copy_without_its_manifest_does_not_count(
    mirror: CheckpointMirror, tmp_path: Path
) -> None:
    mirror.upload(_commit(tmp_path / "run", 3))
    mirror.upload(_commit(tmp_path / "run", 6))
    files = fsspec.core.url_to_fs(mirror.url)
    files[0].rm_file(f"{files[1]}/checkpoints/step-000000006/{MANIFEST}")
    assert mirror.steps() == [3]
    mirror.upload(tmp_path / "run" / "checkpoints" / "step-000000006")
    assert mirror.steps() == [6, 3]


@pytest.mark.parametrize("damaged", ["model.model.safetensors", MANIFEST])
def test_a_damaged_copy_is_passed_over(
    damaged: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mirror = CheckpointMirror(str(tmp_path / "storage"))
    for step in (3, 6):
        mirror.upload(_commit(tmp_path / "run", step))
    file = tmp_path / "storage" / "checkpoints" / "step-000000006" / damaged
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    root = tmp_path / "other" / "checkpoints"
    assert mirror.fetch_newest(root) == 3
    assert [step for step, _ in list_steps(root)] == [3]
    assert list(root.glob(".tmp-*")) == []
    assert "copy of step 6" in caplog.text


def test_a_manifest_cannot_write_outside_the_folder(tmp_path: Path) -> None:
    mirror = CheckpointMirror(str(tmp_path / "storage"))
    mirror.upload(_commit(tmp_path / "run", 3))
    file = tmp_path / "storage" / "checkpoints" / "step-000000003" / MANIFEST
    manifest = read_manifest(file.parent)
    files = {"../../escaped": {"bytes": 0, "sha256": ""}}
    file.write_bytes(seal_manifest({**manifest, "files": files}, files))
    with pytest.raises(CheckpointError, match=r"unsafe name '../../escaped'"):
        mirror.fetch(3, tmp_path / "other" / "checkpoints")
    assert not (tmp_path / "other" / "escaped").exists()


def test_an_upload_that_is_killed_leaves_no_copy_and_is_made_again(tmp_path: Path) -> None:
    folder = _commit(tmp_path / "run", 3, size=20_000_000)
    mirror = CheckpointMirror(str(tmp_path / "storage"))
    mirror.upload(_commit(tmp_path / "early", 2))
    process = multiprocessing.get_context("spawn").Process(target=mirror.upload, args=(folder,))
    process.start()
    target = tmp_path / "storage" / "checkpoints" / "step-000000003" / "model.model.safetensors"
    deadline = time.monotonic() + LIMIT_S
    while not target.exists() or not target.stat().st_size:
        assert time.monotonic() < deadline
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(LIMIT_S)
    assert mirror.steps() in ([2], [3, 2])  # never a part of 3
    assert (mirror.fetch_newest(tmp_path / "other" / "checkpoints") == 3) == (3 in mirror.steps())
    mirror.upload(folder)
    assert mirror.fetch_newest(tmp_path / "another" / "checkpoints") == 3


def test_a_damaged_checkpoint_is_not_copied(tmp_path: Path) -> None:
    folder = _commit(tmp_path / "run", 3)
    file = folder / "model.model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    mirror = CheckpointMirror(str(tmp_path / "storage"))
    with pytest.raises(CheckpointError, match=r"model.model.safetensors is corrupt"):
        mirror.upload(folder)
    assert mirror.steps() == []


def test_another_checkpoint_of_the_same_step_is_set_aside(tmp_path: Path) -> None:
    mirror = CheckpointMirror(str(tmp_path / "storage"))
    mirror.upload(_commit(tmp_path / "run", 3))
    root = _commit(tmp_path / "other", 3, size=4).parent
    mirror.fetch(3, root)
    tensors = open_checkpoint(root / "step-000000003").read_tensors("model.model.safetensors")
    assert tensors["weight"].shape == (8,)
    assert (root / "quarantine" / "step-000000003").is_dir()


def test_the_newer_side_wins_where_a_run_goes_on(tmp_path: Path) -> None:
    mirror = CheckpointMirror(str(tmp_path / "storage"))
    _commit(tmp_path / "run", 3)
    assert agree_on_newest(mirror, tmp_path / "run", is_new=False) == 3
    assert mirror.steps() == [3]
    mirror.upload(_commit(tmp_path / "later", 9))
    (tmp_path / "later" / "metrics.jsonl").write_text("{}\n")
    mirror.upload_files(tmp_path / "later")
    assert agree_on_newest(mirror, tmp_path / "run", is_new=False) == 9
    newest = newest_valid(tmp_path / "run" / "checkpoints")
    assert newest is not None
    assert newest.step == 9
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == "{}\n"


def test_a_new_run_does_not_take_the_storage_of_another(tmp_path: Path) -> None:
    mirror = CheckpointMirror(str(tmp_path / "storage"))
    assert agree_on_newest(mirror, tmp_path / "run", is_new=True) is None
    mirror.upload(_commit(tmp_path / "run", 3))
    with pytest.raises(UserError) as caught:
        agree_on_newest(mirror, tmp_path / "other", is_new=True)
    assert str(caught.value) == (
        f"the storage {tmp_path / 'storage'} has a run already, up to step 3: go on from it with "
        "run.resume: auto, or give this run another storage"
    )


def test_what_retention_deletes_is_deleted_in_the_storage_too(tmp_path: Path) -> None:
    mirror = CheckpointMirror(str(tmp_path / "storage"))
    mirroring = Mirroring(mirror, tmp_path / "run")
    for step in (1, 2, 3):
        folder = _commit(tmp_path / "run", step)
        mirroring.trainer_fit_end(UNWATCHED)
        if step == 2:
            (folder / MANIFEST).unlink()
            folder.rename(folder.with_name(".tmp-gone"))
    assert mirror.steps() == [3, 1]
    left = tmp_path / "storage" / "checkpoints" / "step-000000002"
    assert not left.exists()


def test_checkpoints_are_copied_while_the_run_goes_on(tmp_path: Path) -> None:
    mirror = CheckpointMirror(str(tmp_path / "storage"))
    mirroring = Mirroring(mirror, tmp_path / "run")
    mirroring.trainer_fit_start()
    _commit(tmp_path / "run", 1)
    deadline = time.monotonic() + LIMIT_S
    while mirror.steps() != [1]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    _commit(tmp_path / "run", 2)
    mirroring.trainer_fit_end(UNWATCHED)
    assert mirror.steps() == [2, 1]


def _train(experiment: dict[str, Any], out_dir: Path, storage: Path, **trainer: Any) -> RunResult:
    run = {**experiment["run"], "out_dir": str(out_dir)}
    section = {**experiment["trainer"], **trainer}
    loaded = load_experiment({**experiment, "run": run, "trainer": section})
    place, options = Place(0, 0, 1, 1, "127.0.0.1", 0), Options(storage=str(storage))
    with mirrored(options, out_dir, place, "auto", has_begun=False) as hooks:
        return run_rank(loaded, place, options, resume="auto", hooks=hooks)


def test_a_run_goes_on_from_its_storage_alone(
    dropout_experiment: dict[str, Any], tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    _train(dropout_experiment, tmp_path / "one", storage, max_steps=4)
    result = _train(dropout_experiment, tmp_path / "another", storage, max_steps=6)
    assert (result.status, result.step) == ("completed", 6)
    _train(dropout_experiment, tmp_path / "whole", tmp_path / "unused", max_steps=6)
    ends = [newest_valid(tmp_path / name / "checkpoints") for name in ("another", "whole")]
    found, wanted = (end.manifest["files"]["model.model.safetensors"] for end in ends if end)
    assert found == wanted
    lines = (storage / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6]
    assert json.loads((storage / "summary.json").read_text())["status"] == "completed"


def test_a_storage_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    mirror = CheckpointMirror(str(tmp_path / "file"))
    with pytest.raises(StorageError) as caught:
        mirror.upload(_commit(tmp_path / "run", 3))
    assert str(caught.value).startswith(f"cannot write the storage {tmp_path / 'file'}: ")


def test_a_storage_that_cannot_be_written_is_refused_before_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    mirror = CheckpointMirror(str(tmp_path / "file" / "run"))
    with pytest.raises(StorageError) as caught:
        agree_on_newest(mirror, tmp_path / "run", is_new=False)
    assert str(caught.value).startswith(f"cannot write the storage {tmp_path / 'file' / 'run'}: ")


def test_nothing_is_left_of_the_trial_write(mirror: CheckpointMirror) -> None:
    mirror.require_writable()
    files, root = fsspec.core.url_to_fs(mirror.url)
    assert files.find(root) == []


def test_a_storage_that_is_gone_at_the_end_leaves_the_checkpoint_and_says_where(
    tmp_path: Path,
) -> None:
    _commit(tmp_path / "run", 1)
    (tmp_path / "file").write_text("")
    mirroring = Mirroring(CheckpointMirror(str(tmp_path / "file" / "run")), tmp_path / "run")
    with pytest.raises(StorageError) as caught:
        mirroring.trainer_fit_end(UNWATCHED)
    end = f"; what is not copied is in {tmp_path / 'run'}, and the same command copies it"
    assert str(caught.value).endswith(end)
    assert newest_valid(tmp_path / "run" / "checkpoints") is not None


def test_an_unknown_url_is_refused() -> None:
    with pytest.raises(UserError, match=r"storage: 'nowhere://x' is no folder and no URL that "):
        CheckpointMirror("nowhere://x")


def test_a_url_that_needs_a_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingPackageError) as caught:
        CheckpointMirror("s3://bucket/run")
    assert str(caught.value) == (
        "runner ray: storage: 's3://bucket/run' needs a package that is not installed: "
        "pip install 'fsspec[s3]'"
    )
