"""The documentation is complete, its links lead somewhere, and its code runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from trainer_core.cli import commands, main
from trainer_core.discovery.plugins import discover
from trainer_core.experiment.loading import load_experiment

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
READMES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("packages/*/README.md")),
    *sorted(ROOT.glob("examples/*/README.md")),
]
OWN_TESTS = {  # pages whose outputs are compared as well
    "how-to/migrate.md": "trainer_core/cli/test_config_migrate.py",
    "how-to/publish-a-plugin.md": "trainer_core/scaffold/test_how_to_publish.py",
    "reference/config-language.md": "policy_constructor/config/test_language_reference.py",
}
EXPERIMENT_KEYS = {"run", "data", "trainer"}
READ_ONLY = ("check", "config", "plugins list", "plugins info", "--help", "--version")
BLOCK = re.compile(
    r"(?P<mark><!-- not run: [^\n]+ -->\n\n?)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block: its kind, its text, and the file it stands for, if its first line says so."""

    kind: str
    text: str
    file: str


def blocks_of(page: Path) -> list[Block]:
    found = []
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        name = re.match(r"# ([\w./-]+\.(?:py|ya?ml))\n", match["text"])
        if not match["mark"]:
            found.append(Block(match["kind"], match["text"], name[1] if name else ""))
    return found


def file_of(block: Block) -> str:
    """Return where a block is written: what it says, else `cfg.yaml` or `model.yaml`."""
    if block.file or block.kind != "yaml":
        return block.file
    document = yaml.safe_load(block.text)
    keys = set(document) if isinstance(document, dict) else set()
    if keys >= EXPERIMENT_KEYS:
        return "cfg.yaml"
    return "model.yaml" if "model" in keys else ""


def commands_of(block: Block) -> list[list[str]]:
    """Return the commands of a shell block that read and write nothing."""
    lines = [line.split("  #")[0].strip() for line in block.text.splitlines()]
    words = [shlex.split(line)[1:] for line in lines if line.startswith("trainer ")]
    return [each for each in words if " ".join(each).startswith(READ_ONLY)]


RUNNABLE = [page for page in [*READMES, *DOCS] if "/".join(page.parts[-2:]) not in OWN_TESTS]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_of_the_page_runs(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    blocks = blocks_of(page)
    for block in [*blocks_of(ROOT / "docs" / "index.md"), *blocks]:  # its cfg.yaml, or their own
        if file_of(block):
            Path(file_of(block)).parent.mkdir(parents=True, exist_ok=True)
            Path(file_of(block)).write_text(block.text, encoding="utf-8")
    names: dict[str, Any] = {"__name__": page.stem}
    for block in blocks:
        if block.kind == "python":
            exec(compile(block.text, f"{page.name}: {block.text[:30]!r}", "exec"), names)
        elif block.kind == "yaml" and file_of(block) == "cfg.yaml":
            assert load_experiment("cfg.yaml", strict=False).problems == []
        elif block.kind == "sh" and page.parts[-3] != "examples":  # those are not installed here
            for words in commands_of(block):
                assert _run(words) == 0, f"trainer {' '.join(words)}: {capsys.readouterr().err}"


@pytest.mark.parametrize(("page", "test"), OWN_TESTS.items())
def test_page_with_a_test_of_its_own_is_named_there(page: str, test: str) -> None:
    assert Path(page).name in (ROOT / "tests" / test).read_text(encoding="utf-8")


def _run(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as end:  # of --help
        return int(end.code or 0)


def test_generated_pages_are_up_to_date_and_need_no_torch() -> None:
    code = (
        "import runpy, sys\nsys.argv = ['generate.py', '--check']\n"
        "try: runpy.run_path('docs/generate.py', run_name='__main__')\n"
        "except SystemExit as end: print('exit', end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "exit 0 False\n", done.stdout


def test_every_page_is_in_the_navigation() -> None:
    pages = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(pages) == [str(page.relative_to(ROOT / "docs")) for page in DOCS]


@pytest.mark.parametrize(
    "page",
    [*READMES, *DOCS, ROOT / "CONTRIBUTING.md"],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not link.startswith("http") and not _exists(target, anchor):
            dead.append(link)
    assert dead == []


def _exists(target: Path, anchor: str) -> bool:
    if not target.exists() or not anchor:
        return target.exists()
    headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
    return anchor in {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("words", commands.COMMANDS, ids=" ".join)
def test_every_command_is_explained(words: tuple[str, ...]) -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    assert f"\n## `trainer {' '.join(words)}" in page


def test_every_component_of_ours_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "components.md").read_text()
    ours = {path.name for path in (ROOT / "packages").iterdir()}
    components = {
        row.key
        for row in discover().records()
        if row.dist in ours and row.kind not in {"command", "recipe", "hook"}
    }
    assert sorted(key for key in components if f"### `{key}`" not in page) == []


@pytest.mark.parametrize("name", ["README.md", "docs/tutorials/first-run.md"])
def test_mistake_is_told_as_the_page_shows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = blocks_of(ROOT / name)
    (shown,) = [b.text for b in blocks if b.kind == "text" and b.text.startswith("cfg.yaml:")]
    (config,) = [b.text for b in blocks if file_of(b) == "cfg.yaml"]
    Path("cfg.yaml").write_text(config.replace("max_steps", "max_stpes"), encoding="utf-8")
    assert main(["check", "cfg.yaml"]) == 2
    assert capsys.readouterr().err.startswith(shown)
