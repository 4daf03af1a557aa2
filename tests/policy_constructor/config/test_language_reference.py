"""The examples of the language's reference page print what the page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from policy_constructor.config import resolve_config, to_yaml
from policy_constructor.errors import ConfigError

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "config-language.md"
PACKAGE = Path(__file__).parents[3] / "packages/policy-constructor/src/policy_constructor/config"
_BLOCK = re.compile(r"^```(yaml|console|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    """Files, the arguments, and what is printed."""

    files: dict[str, str]
    command: str
    output: str


def read_examples() -> list[Example]:
    """Return the examples of the page; files belong to all outputs of their section."""
    examples: list[Example] = []
    for section in re.split(r"^#{2,3} ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE):
        blocks = _BLOCK.findall(section)
        files = {
            body.split("\n")[0].removeprefix("# "): body.partition("\n")[2]
            for kind, body in blocks
            if kind == "yaml"
        }
        for kind, body in blocks:
            if kind != "yaml":
                has_command = body.startswith("$ ")
                command, _, output = body.partition("\n") if has_command else ("", "", body)
                examples.append(Example(files, command.removeprefix("$ "), output))
    return examples


@pytest.mark.parametrize("example", read_examples(), ids=lambda example: example.output[:40])
def test_example_prints_what_the_page_shows(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in example.files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
    words = shlex.split(example.command)
    while words and re.match(r"[A-Z_]+=", words[0]):
        monkeypatch.setenv(*words.pop(0).split("=", 1))
    overrides = [word for word in words[3:] if word not in {"--sources", "exp.yaml"}]
    try:
        resolved = resolve_config("exp.yaml", overrides)
        printed = to_yaml(resolved, sources="--sources" in words)
    except ConfigError as error:
        printed = f"{error}\n"
    assert printed == example.output


def test_page_has_examples_of_every_kind() -> None:
    assert len(read_examples()) >= 10


def test_every_code_of_the_language_is_on_the_page() -> None:
    sources = "".join(file.read_text(encoding="utf-8") for file in PACKAGE.glob("*.py"))
    codes = set(re.findall(r'code="([a-z-]+)"', sources))
    codes |= set(re.findall(r'"((?:too|yaml|environment|missing|invalid)-[a-z]+)"', sources))
    page = PAGE.read_text(encoding="utf-8")
    assert sorted(code for code in codes if f"`{code}`" not in page) == []
