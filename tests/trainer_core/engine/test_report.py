from __future__ import annotations

import json
import logging
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.cli import main
from trainer_core.engine.report import write_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer_core.results import RunResult


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
    assert parsed.tags.count("svg") == 1
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
    assert (
        "running after 0 steps, or killed: there is no summary.json"
        in (tmp_path / "report.html").read_text()
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", '{"status": 3, "step": [], "metrics": 4, "evaluation": {"ci95": "x"}}'),
        ("summary.json", '{"evaluation": {"success_rate": 1, "ci95": ["a", null]}}'),
        ("summary.json", "[" * 100_000),
        ("metrics.jsonl", '{"step": 1, "loss": 1e999}\n{"step": 2, "x": -0.0}\nnot json'),
        ("config.resolved.yaml", "a: [unclosed"),
        ("plugins.json", '{"distributions": [1]}'),
        ("environment.json", '{"packages": "many"}'),
        ("checkpoints/step-000000003/MANIFEST.json", '{"files": {"a": {"bytes": "?"}}}'),
        ("evaluation/step-000000003/result.json", '{"success_rate": "high"}'),
    ],
)
def test_damaged_folder_has_a_report_too(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(content)
    assert write_report(tmp_path, picture=False).is_file()


def test_text_of_a_run_cannot_become_markup(tmp_path: Path) -> None:
    bad = "<img src=x onerror=alert(1)>"
    record = json.dumps({"step": 1, bad: 1.0}) + "\n" + json.dumps({"step": 2, bad: 2.0}) + "\n"
    (tmp_path / "metrics.jsonl").write_text(record)
    summary: dict[str, Any] = {"status": bad, "error": bad, "stop_reason": bad, "metrics": {bad: 1}}
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"evaluation": {bad: 1, "n": bad}}))
    (tmp_path / "plugins.json").write_text(json.dumps({"distributions": {bad: bad}}))
    write_report(tmp_path, picture=False)
    parsed = Links()
    parsed.feed((tmp_path / "report.html").read_text())
    assert not {"img", "script", "link"} & set(parsed.tags)


def test_failed_run_has_a_report_that_says_why(
    train: Callable[..., RunResult], tmp_path: Path
) -> None:
    with pytest.raises(Exception, match="nowhere"):
        train(spy=lambda experiment: experiment.hooks._manager.register(Breaks()))
    page = (tmp_path / "run" / "report.html").read_text()
    assert "failed after 5 steps" in page
    assert "RuntimeError: nowhere &lt;to go&gt;" in page
    assert "--resume auto" not in page  # there is no checkpoint


class Breaks:
    from trainer_core.hookspecs import hookimpl

    @hookimpl
    def trainer_step_end(self, state: Any) -> None:
        if state.step == 5:
            message = "nowhere <to go>"
            raise RuntimeError(message)


def test_command_writes_the_page_and_says_where(
    train: Callable[..., RunResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(callbacks=[{"_type_": "model_checkpoint", "every_n_steps": 5}])
    (tmp_path / "run" / "report.html").unlink()
    assert main(["report", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'run' / 'report.html'}\n"
    page = (tmp_path / "run" / "report.html").read_text()
    for title in ("Curves", "Checkpoints", "Configuration", "Wheels", "Environment"):
        assert f"<h2>{title}</h2>" in page


def test_several_runs_are_compared(
    train: Callable[..., RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(out="sweep/a")
    train("optimizer.kwargs.lr=0.5", out="sweep/b")
    monkeypatch.chdir(tmp_path)
    assert main(["report", "sweep"]) == 0
    page = (tmp_path / "comparison.html").read_text()
    assert "<td>optimizer.kwargs.lr</td><td>0.01</td><td>0.5</td>" in page
    assert page.count("<polyline") == 2 * page.count("<svg")
    assert main(["report", "sweep/a", "-o", "a.html"]) == 0
    assert (tmp_path / "a.html").is_file()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nothing", "error: there is no folder nothing\n"),
        ("empty", "error: empty is no run folder: it has no summary.json, "),
    ],
)
def test_folder_without_a_run_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    word: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["report", word]) == 2
    assert capsys.readouterr().err.startswith(message)
