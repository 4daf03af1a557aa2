"""Broken files end in a `ConfigError` or in a tree, never in anything else."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_constructor.config import resolve_config, to_yaml
from policy_constructor.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = """\
schema_version: 1
defaults: [base.yaml]
params: {width: 256, rate: 1e-4, dims: [1, 2]}
templates:
  adam: {_type_: adam, lr: "${params.rate}", betas: [0.9, 0.999]}
  slow: {_template_: adam, lr: 1.0e-6}
run:
  name: pick
  out_dir: runs/${run.name}/${env:HOME,x}
optimizer:
  _template_: slow
  betas: {_merge_: append, _value_: [0.5]}
anchors: &a {x: &b 1, y: [*b, *b]}
alias: *a
text: "$${not} $x ${params.width} ${env:int:NOPE,3}"
callbacks:
  _merge_: keyed
  key: name
  _value_:
  - {name: one, n: 1}
  - name: two
block: |
  several
  lines
last: ${params.dims}
"""
BASE = "callbacks: [{name: one, n: 0, m: 1}]\nparams: {width: 1, depth: 2}\n"
PIECES = [
    *"[]{}:,-#&*!|>'\"%@`?\t\n $\\",
    *("${", "}", "<<", "---\n", "...", "_merge_", "_value_", "_template_", "${params}", "*a"),
    *("&z ", "!!int ", "${env:", "\x00", "\ufeff", "\u2028", "9" * 30, "null", "~", "defaults"),
]


def mutate(text: str, random_: random.Random) -> str:
    """Return the text with a few insertions, deletions, swaps and repeated lines."""
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(text) + 1)
        kind = random_.randrange(4)
        if kind == 0:
            text = text[:at] + random_.choice(PIECES) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + random_.randint(1, 6) :]
        elif kind == 2:
            text = text[:at] + random_.choice(PIECES) + text[at + 1 :]
        else:
            lines = text.split("\n")
            lines.insert(random_.randrange(len(lines)), random_.choice(lines))
            text = "\n".join(lines)
    return text


def try_to_resolve(folder: Path, text: str, *overrides: str) -> bool:
    """Resolve and dump, or render the problems; return whether it was resolved."""
    (folder / "base.yaml").write_text(BASE)
    file = folder / "exp.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        resolved = resolve_config(file, overrides)
    except ConfigError as error:
        return not str(error)
    for sources, redact_env in ((False, False), (True, False), (False, True)):
        assert to_yaml(resolved, sources=sources, redact_env=redact_env)
    return True


def test_the_unbroken_file_resolves(tmp_path: Path) -> None:
    assert try_to_resolve(tmp_path, WHOLE)


@pytest.mark.parametrize("seed", range(12))
def test_mutated_file_raises_nothing_but_config_errors(seed: int, tmp_path: Path) -> None:
    random_ = random.Random(seed)
    outcomes = [try_to_resolve(tmp_path, mutate(WHOLE, random_)) for _ in range(60)]
    assert not all(outcomes)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    try_to_resolve(tmp_path_factory.getbasetemp(), text)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    try_to_resolve(tmp_path_factory.getbasetemp(), data.decode("latin-1") + "\ud800")


@given(st.lists(st.text(alphabet="ab.=~+01[]{}:'\"$ ,_", max_size=12), max_size=4))
def test_any_override_is_applied_or_refused(
    tmp_path_factory: pytest.TempPathFactory, overrides: list[str]
) -> None:
    try_to_resolve(tmp_path_factory.getbasetemp(), "a: {b: [1, 2]}\nb: '1'\n", *overrides)


@pytest.mark.parametrize(
    "piece", ["[", "{a: ", "- ", "? ", "a: &a [*a, ", "&a ", "!!x ", "${", "' "]
)
def test_endless_repetition_ends(piece: str, tmp_path: Path) -> None:
    assert not try_to_resolve(tmp_path, "x: " + piece * 20_000)
