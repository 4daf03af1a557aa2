"""Every sort of broken wheel installed at once: nothing but its own use breaks."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from trainer_core.cli import main
from trainer_core.discovery.plugins import discover

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOSSES = "trainer_core.losses"
IMPORTS = {
    "zoo_syntax": "def broken(:\n",
    "zoo_exit": "raise SystemExit(3)\n",
    "zoo_loop": "while True:\n    pass\n",
    "zoo_end": "import os\nos._exit(7)\n",
    "zoo_odd": "print('noise')\nclass Odd: ...\n",
    "zoo_twin": "class Torch:\n    def build(self): ...\n",
}
WORDS = {
    "zoo-missing": "ModuleNotFoundError: No module named 'zoo_missing'",
    "zoo-syntax": "SyntaxError: invalid syntax (zoo_syntax.py, line 1)",
    "zoo-exit": "SystemExit: 3",
    "zoo-loop": "its import did not end within 5 s",
    "zoo-end": "its import ended the process with exit code 7",
    "zoo-odd": "zoo_odd:Odd: Odd has no method 'build()'",
    "zoo-lines": "line 2 of entry_points.txt is not 'name = module:attribute'",
    "zoo-bare": "its METADATA file is missing, as after a failed uninstallation",
    "zoo-twin": "loss 'torch' is also provided by trainer-core 0.1.0 (trainer_core.losses:",
    "zoo-later": "it requires trainer-core>=2,<3, and this is trainer-core 0.1.0",
    "zoo-gone": "it was installed from {tmp}/gone, which is gone",
    "zoo-hook": "unknown hook 'trainer_fit_strat'",
}
CURES = {
    "zoo-bare": "pip install --force-reinstall --no-deps 'zoo-bare', or remove {tmp}/site",
    "zoo-gone": "pip uninstall zoo-gone",
    "zoo-later": "install a version of zoo-later for trainer-core 0.1.0, or: ",
    "zoo-lines": "its author must mend entry_points.txt; until then: pip uninstall zoo-lines",
    "zoo-twin": "write 'zoo-twin::torch', or set plugins.prefer: {{loss: {{torch: zoo-twin}}}}",
}
MEND = (
    "mend or upgrade it: pip install --upgrade '{0}'; or switch it off: TRAINER_DISABLE_PLUGINS={0}"
)


@pytest.fixture
def zoo(fake_wheel: Callable[..., Path], tmp_path: Path) -> None:
    """Install one wheel of each sort; none of them was imported by an earlier test."""
    for imported in [name for name in sys.modules if name.startswith("zoo_")]:
        del sys.modules[imported]
    for name in ("zoo-missing", "zoo-syntax", "zoo-exit", "zoo-loop", "zoo-end", "zoo-odd"):
        module = name.replace("-", "_")
        text = {f"{module}.py": IMPORTS[module]} if module in IMPORTS else {}
        fake_wheel(name, {LOSSES: {module: f"{module}:Odd"}}, text)
    fake_wheel("zoo-lines", {LOSSES: {"crooked": "no reference at all"}})
    bare = fake_wheel("zoo-bare", {LOSSES: {"bare": "zoo_twin:Torch"}})
    (bare / "zoo_bare-1.0.dist-info" / "METADATA").unlink()
    fake_wheel(
        "zoo-twin", {LOSSES: {"torch": "zoo_twin:Torch"}}, {"zoo_twin.py": IMPORTS["zoo_twin"]}
    )
    later = fake_wheel("zoo-later", {LOSSES: {"later": "zoo_twin:Torch"}})
    with (later / "zoo_later-1.0.dist-info" / "METADATA").open("a") as file:
        file.write("Requires-Dist: trainer-core>=2,<3\n")
    gone = fake_wheel("zoo-gone", {LOSSES: {"gone": "zoo_gone:Gone"}})
    origin = {"url": (tmp_path / "gone").as_uri(), "dir_info": {"editable": True}}
    (gone / "zoo_gone-1.0.dist-info" / "direct_url.json").write_text(json.dumps(origin))
    hook = "from trainer_core import hookimpl\n\n@hookimpl\ndef trainer_fit_strat(state): ...\n"
    fake_wheel("zoo-hook", {"trainer_core.hooks": {"h": "zoo_hook"}}, {"zoo_hook.py": hook})


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["plugins", "list"],
        ["plugins", "list", "--json"],
        ["plugins", "list", "--kind", "loss"],
        ["check", "exp.yaml"],
        ["check", "exp.yaml", "--json"],
        ["plugins", "info", "zoo-loop"],
        ["plugins", "info", "loss.zoo_syntax"],
        ["plugins", "info", "zoo-gone::gone", "--json"],
        ["config", "show", "exp.yaml"],
        ["config", "explain", "exp.yaml", "run.seed"],
        ["config", "schema"],
        ["config", "recipes"],
        ["config", "show", "exp.yaml", "--sources", "--json"],
        ["config", "migrate", "./exp.yaml"],
        ["model", "show", "exp.yaml", "--mermaid"],
        ["plugins", "new", "acme-new", "--kind", "loss"],
    ],
)
def test_reading_commands_work(zoo: None, experiment_file: Path, arguments: list[str]) -> None:
    assert main([*arguments, *_prefer_ours(arguments)]) == 0
    assert not [name for name in sys.modules if name.startswith("zoo_")]


def _prefer_ours(arguments: list[str]) -> list[str]:
    """Settle the twin of `loss.torch`, which the file uses."""
    return ["plugins.prefer.loss.torch=trainer-core"] if "exp.yaml" in arguments else []


def test_listing_tells_what_metadata_can_tell(zoo: None) -> None:
    found = {row.dist: row.status for row in discover().records() if row.dist.startswith("zoo")}

    assert found == dict.fromkeys(WORDS, "ok") | {
        "zoo-lines": "invalid",
        "zoo-twin": "conflict",
        "zoo-later": "incompatible",
        "zoo-gone": "stale",
    }


def test_check_names_each_with_wheel_version_and_cure(
    zoo: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "check", "--timeout", "5", "--json"]) == 1

    document = json.loads(capsys.readouterr().out)
    found = {f["dist"]: f for f in document["findings"] if f["dist"].startswith("zoo")}
    assert not document["ok"]
    assert set(found) == set(WORDS)
    for dist, words in WORDS.items():
        assert words.format(tmp=tmp_path) in found[dist]["message"]
        assert CURES.get(dist, MEND).format(dist, tmp=tmp_path) in found[dist]["cure"]
        assert (found[dist]["version"], found[dist]["level"]) == ("1.0", "error")


def test_check_of_one_wheel_says_it_in_words(
    zoo: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "check", "zoo-exit"]) == 1

    printed = capsys.readouterr()
    assert printed.out == (
        "broken       zoo-exit 1.0\n"
        "  loss.zoo_exit: zoo_exit:Odd: SystemExit: 3\n"
        f"  declared in {tmp_path}/site-zoo-exit/zoo_exit-1.0.dist-info\n"
        f"  cure: {MEND.format('zoo-exit')}\n"
    )
    assert printed.err == "1 component of 1 wheel: 1 error\n"


def test_wheel_without_a_fault_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "check", "trainer-ddp"]) == 0
    assert capsys.readouterr().out == "1 component of 1 wheel: all is well\n"


def test_run_that_uses_none_of_them_succeeds(
    zoo: None, experiment_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ["trainer.max_steps=2", "run.device=cpu", *_prefer_ours(["exp.yaml"])]

    assert main(["run", "exp.yaml", *changes]) == 0
