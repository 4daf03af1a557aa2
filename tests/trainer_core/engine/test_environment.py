from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from trainer_core.engine.environment import describe_environment

if TYPE_CHECKING:
    from pathlib import Path


def test_environment_is_json_with_versions() -> None:
    described = json.loads(json.dumps(describe_environment()))
    assert {"python", "platform", "packages", "threads", "git_commit"} <= described.keys()
    assert described["torch"]["version"].startswith(described["packages"]["torch"])
    assert described["processor"]


def test_wheels_are_listed_with_what_they_require() -> None:
    packages = describe_environment(["experiments-il", "no-such-wheel"])["packages"]
    assert {"experiments-il", "trainer-core", "pyyaml", "rich"} <= packages.keys()
    assert "no-such-wheel" not in packages


@pytest.mark.parametrize("packed", [False, True])
def test_commit_is_read_from_git_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    if packed:
        (git / "packed-refs").write_text("# pack\nabc123 refs/heads/main\n")
    else:
        (git / "refs" / "heads" / "main").write_text("abc123\n")
    monkeypatch.chdir(tmp_path)
    assert describe_environment()["git_commit"] == "abc123"


def test_changes_of_the_working_folder_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert describe_environment()["git_changed"] is None
    (tmp_path / "a.txt").write_text("a")
    for words in ("init -q", "add a.txt"):
        subprocess.run(["git", *words.split()], check=True, timeout=60)
    assert describe_environment()["git_changed"] is True
