from __future__ import annotations

import json
import logging
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from trainer_core.engine.report import write_report

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attrs if name in {"href", "src"}]


def fill(folder: Path) -> None:
    lines = [{"step": step, "loss": 1 / step, "val/loss": 2 / step} for step in range(1, 40)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    evaluation = {"success_rate": 0.9, "n": 50, "ci95": [0.786, 0.957]}
    summary = {"status": "completed", "step": 39, "wall_s": 3.0, "evaluation": evaluation}
    (folder / "summary.json").write_text(json.dumps(summary | {"metrics": {"loss": 0.5}}))
    (folder / "config.resolved.yaml").write_text("run: {name: <script>}\n")
    video = folder / "evaluation" / "step-000000039" / "episode 0.mp4"
    video.parent.mkdir(parents=True)
    video.write_bytes(b"")


def test_report_is_one_page_with_everything(tmp_path: Path) -> None:
    fill(tmp_path)
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "success rate 90.0 %, 95 % interval 78.6 to 95.7 %, 50 episodes" in page
    assert "&lt;script&gt;" in page
    parsed = Links()
    parsed.feed(page)
    assert parsed.tags.count("svg") == 2
    assert parsed.links == ["evaluation/step-000000039/episode 0.mp4"]


def test_loss_curve_is_drawn(tmp_path: Path) -> None:
    fill(tmp_path)
    write_report(tmp_path)
    assert (tmp_path / "loss_curve.png").read_bytes().startswith(b"\x89PNG")


def test_missing_matplotlib_is_said_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    fill(tmp_path)
    with caplog.at_level(logging.WARNING):
        write_report(tmp_path)
    assert caplog.messages == ["no loss_curve.png: pip install 'trainer-core[plots]'"]
    assert (tmp_path / "report.html").is_file()
    assert not (tmp_path / "loss_curve.png").exists()


def test_empty_folder_has_a_report_too(tmp_path: Path) -> None:
    write_report(tmp_path)
    assert "running after 0 steps" in (tmp_path / "report.html").read_text()
