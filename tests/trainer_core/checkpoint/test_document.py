from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.checkpoint.document import read_state
from trainer_core.checkpoint.layout import MANIFEST, read_manifest, seal_manifest
from trainer_core.checkpoint.reader import Checkpoint
from trainer_core.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

COUNTERS = dict.fromkeys(("step", "samples", "seed", "global_batch"), 0)
MAPPINGS = ("metrics", "evaluation", "loop", "host_rng", "aliases", "optimizers", "schedules")
GOOD: dict[str, Any] = {**COUNTERS, **{name: {} for name in MAPPINGS}}


def read(folder: Path, text: str) -> dict[str, Any]:
    (folder / "state.json").write_text(text)
    return read_state(Checkpoint(folder, {"files": {"state.json": {}}}))


def test_state_with_every_field_is_returned(tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps(GOOD)) == GOOD


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is not a mapping"),
        ("[" * 100_000, "is not JSON"),
        (json.dumps({**GOOD, "step": None}), ": 'step' is a NoneType, expected int"),
        (json.dumps({**GOOD, "samples": -4}), ": 'samples' is -4, expected at least 0"),
        (json.dumps({"step": 1}), ": 'samples' is missing, expected int"),
        (json.dumps({**GOOD, "aliases": {"m": {"a": []}}}), ": the aliases of 'm' are not names"),
    ],
)
def test_other_state_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path, text)
    assert str(caught.value).removeprefix(str(tmp_path / "state.json")).strip() == message


def test_manifest_that_never_ends_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json is not JSON"):
        read_manifest(tmp_path)


def test_manifest_whose_files_are_no_entries_is_refused(tmp_path: Path) -> None:
    digest: Any = hashlib.sha256(b"").hexdigest()
    (tmp_path / MANIFEST).write_bytes(seal_manifest({}, {"state.json": digest}))
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json is not a manifest"):
        read_manifest(tmp_path)
