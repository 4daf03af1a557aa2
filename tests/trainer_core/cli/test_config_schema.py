from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from trainer_core.cli import main

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


def test_schema_is_printed_as_one_document(capsys: Capture) -> None:
    assert main(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_schema_is_written_to_a_file(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "editor" / "schema.json"
    assert main(["config", "schema", "--output", str(file)]) == 0
    assert "optim_cls.AdamW" in json.loads(file.read_text())["$defs"]
    assert capsys.readouterr().out.startswith(f"{file}: experiment and model files with ")
