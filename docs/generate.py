"""Writes the generated parts of the documentation from the code; imports no torch.

    python docs/generate.py            rewrite what is out of date
    python docs/generate.py --check    only say what is, with exit code 1

A page may be generated as a whole, or hold `<!-- generated: NAME -->` ... `<!-- end -->`.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import json
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policy_constructor.signatures.signature import read_signature
from policy_constructor.signatures.value_words import type_text
from trainer_core import hookspecs
from trainer_core.cli import commands, main
from trainer_core.discovery.names import noun
from trainer_core.discovery.plugins import discover
from trainer_core.experiment import schema
from trainer_core.experiment.check import SUPPLIED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from policy_constructor.discovery.component import ComponentRef, Family
    from policy_constructor.signatures.parameters import Parameter

DOCS = Path(__file__).parent
KIT = DOCS.parent / "packages" / "trainer-core" / "src" / "trainer_core" / "testing"
OURS = ("policy-constructor", "trainer-core", "experiments-il", "trainer-ddp", "trainer-ray")
NOTE = "<!-- Written by docs/generate.py from the code; changes here are lost. -->\n\n"


def hooks() -> str:
    """Return a section for each hook, in the order of hookspecs.py."""
    sections = []
    for name, function in vars(hookspecs).items():
        if name.startswith("trainer_"):
            arguments = ", ".join(inspect.signature(function).parameters)
            sections.append(f"## `{name}({arguments})`\n\n{_docstring(function)}")
    return "\n\n".join(sections)


def components() -> str:
    """Return the page of all components of our wheels, with their parameters."""
    plugins = discover()
    lines = [
        "# Components",
        "",
        "What the five wheels bring, by kind. `trainer plugins list` shows what is installed,",
        "`trainer plugins info NAME` describes one of them.",
    ]
    for kind, registry in plugins.registries.items():
        refs = [ref for ref in registry.refs() if ref.dist in OURS]
        families = [family for family in registry.families if family.dist in OURS]
        if refs or families:
            lines += ["", f"## {noun(kind).capitalize()}: `{kind}`"]
            lines += [line for family in families for line in _family(family)]
            lines += [line for ref in refs for line in _component(ref)]
    return "\n".join(lines)


def command_line() -> str:
    """Return the page of the help texts of all commands."""
    lines = [
        "# Help texts",
        "",
        "What `--help` says. [The command line](cli.md) explains it with examples.",
        *_help_section("trainer", []),
    ]
    for words in commands.COMMANDS:
        lines += _help_section(f"trainer {' '.join(words)}", list(words))
    for ref in discover().commands:
        if ref.dist in OURS:
            lines += _help_section(f"trainer {ref.key}", [ref.key])
    return "\n".join(lines)


def checks() -> str:
    """Return the table of the conformance checks, read from the kit's source."""
    rows = {}
    for name, function, owner in _check_functions():
        number = name.removeprefix("test_").partition("_")[0].upper()
        text = (ast.get_docstring(function) or "").replace("\n", " ")
        rows[number] = f"| {number} | {text} | `{owner}` |"
    head = ["| check | what must hold | class |", "|---|---|---|"]
    return "\n".join([*head, *(rows[number] for number in sorted(rows))])


def fields(model: type[BaseModel]) -> str:
    """Return the table of a section's keys, from its Pydantic model."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        if (model, name) == (schema.ExperimentConfig, "models"):
            rows.append(_MODEL)
        if name not in {"component", "body"}:  # the component's own parameters
            default = _DEFAULTS.get((model, name)) or _default(field)
            rows.append(f"| `{name}` | {default} | {field.description} |")
    return "\n".join(rows)


_MODEL = (  # becomes `models` before the models of the schema are asked
    "| `model` | required, or `models` | One model, in the grammar of a model file; "
    "the same as `models: {model: ...}`. |"
)

_DEFAULTS: dict[tuple[type[BaseModel], str], str] = {
    (schema.ExperimentConfig, "models"): "required, or `model`",
    (schema.ExperimentConfig, "runner"): "`{_type_: runner.local}`",
    (schema.ExperimentConfig, "loggers"): "`[{_type_: log.stdout}, {_type_: log.jsonl}]`",
    (schema.ExperimentConfig, "plugins"): "see below",
    (schema.ExperimentConfig, "settings"): "see below",
}


PAGES: dict[str, Callable[[], str]] = {
    "reference/components.md": components,
    "reference/help-texts.md": command_line,
}
SECTIONS: dict[str, type[BaseModel]] = {
    "top level": schema.ExperimentConfig,
    "run": schema.RunSection,
    "models": schema.ComponentSection,
    "optimizer": schema.OptimizerSection,
    "data": schema.DataSection,
    "trainer": schema.TrainerSection,
    "evaluation": schema.EvaluationSection,
    "plugins": schema.PluginsSection,
    "settings": schema.Settings,
}
PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "hooks": ("reference/hooks.md", hooks),
    "checks": ("reference/conformance.md", checks),
    **{
        name: ("reference/experiment-file.md", partial(fields, model))
        for name, model in SECTIONS.items()
    },
}


def generated() -> dict[Path, str]:
    """Return each page that has generated text, as it should be."""
    pages = {DOCS / name: NOTE + write() + "\n" for name, write in PAGES.items()}
    for part, (name, write) in PARTS.items():
        page = DOCS / name
        before = pages.get(page) or page.read_text(encoding="utf-8")
        head, begin, rest = before.partition(f"<!-- generated: {part} -->\n")
        _, end, tail = rest.partition("<!-- end -->")
        pages[page] = f"{head}{begin}\n{write()}\n\n{end}{tail}"
    return pages


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _component(ref: ComponentRef) -> list[str]:
    signature = read_signature(ref.target)
    lines = ["", f"### `{ref.key}`", "", f"{ref.dist}, `{ref.target}`"]
    if signature is None:
        return [*lines[:-1], f"{lines[-1]}."]
    lines[-1] += f": {signature.doc}" if signature.doc else "."
    rows = [_row(p) for p in signature.parameters.values() if p.name not in _supplied(ref.kind)]
    if rows and ref.kind not in {"op", "init"}:
        lines += ["", "| parameter | type | default | meaning |", "|---|---|---|---|", *rows]
    return lines


def _family(family: Family) -> list[str]:
    text = f"{family.dist}: every class of `{family.module}`, by its name."
    return ["", f"### `{family.pattern}`", "", text]


def _row(parameter: Parameter) -> str:
    kind = type_text(parameter.annotation).replace("|", "\\|")
    default = "required" if parameter.required else f"`{parameter.default_source}`"
    doc = " ".join(parameter.doc.split()).replace("|", "\\|")
    return f"| `{parameter.name}` | {kind} | {default} | {doc} |"


def _supplied(kind: str) -> frozenset[str]:
    return SUPPLIED.get(kind, frozenset())


def _help_section(title: str, words: list[str]) -> list[str]:
    text = _help(words)
    lines = ["", f"## `{title}`", "", "```text", text.rstrip(), "```"]
    subcommands = re.search(r"\{([a-z,_-]+)\}", text) if words and words[0] == "data" else None
    for name in subcommands[1].split(",") if subcommands else ():
        lines += ["", f"### `{title} {name}`", "", "```text", _help([*words, name]).rstrip(), "```"]
    return lines


def _help(words: list[str]) -> str:
    """Return what `trainer WORDS --help` prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return out.getvalue()


def _docstring(function: Any) -> str:
    """Return a docstring as Markdown: its `Args:` as a list."""
    text, _, arguments = (inspect.getdoc(function) or "").partition("\n\nArgs:\n")
    entries = re.sub(r"\n        +", " ", arguments)
    items = re.sub(r"^    (\w+):", r"- `\1`:", entries, flags=re.MULTILINE)
    return f"{text}\n\n{items}".rstrip()


def _check_functions() -> Iterator[tuple[str, ast.FunctionDef, str]]:
    for file in sorted(KIT.glob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                for item in node.body:
                    if isinstance(item, ast.FunctionDef) and item.name.startswith("test_tc"):
                        yield item.name, item, node.name


def write_pages(*, check: bool) -> int:
    """Write the pages that are out of date, or only name them; return the exit code."""
    os.environ["COLUMNS"] = "100"  # the width of argparse's texts
    stale = [
        (page, text)
        for page, text in generated().items()
        if not page.is_file() or page.read_text(encoding="utf-8") != text
    ]
    for page, text in stale:
        name = page.relative_to(DOCS.parent)
        if check:
            sys.stdout.write(f"{name} is out of date: hatch run docs-generate\n")
        else:
            page.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{name}\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(write_pages(check="--check" in sys.argv[1:]))
