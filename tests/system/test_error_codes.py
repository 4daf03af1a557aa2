"""Every code of a problem is in the reference, and the reference names no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "errors.md"
POSITIONS = {"Problem": 3, "EnvironmentProblem": 1, "stop": 2}
DEFAULT = "invalid"


def codes_of(path: Path) -> set[str]:
    """Return the codes that a module gives to problems."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        values = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name in POSITIONS:
            values += node.args[POSITIONS[name] : POSITIONS[name] + 1]
        found |= {
            value.value
            for value in values
            if isinstance(value, ast.Constant) and isinstance(value.value, str)
        }
    return found


def documented() -> set[str]:
    rows = re.findall(r"^\| (`[^|]+) \|", PAGE.read_text(), flags=re.MULTILINE)
    return {code for row in rows for code in re.findall(r"`([^`]+)`", row)}


def test_reference_lists_exactly_the_codes_in_use() -> None:
    sources = sorted(ROOT.glob("packages/*/src/**/*.py"))
    used = set().union(*(codes_of(path) for path in sources)) | {DEFAULT}
    assert sorted(documented()) == sorted(used)
