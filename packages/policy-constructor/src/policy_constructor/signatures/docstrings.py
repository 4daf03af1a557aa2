"""Docstrings -> what they say about a parameter, in Google and Sphinx style."""

from __future__ import annotations

import ast
import re
from inspect import cleandoc

__all__ = ["parameter_docs", "summary"]

_GOOGLE = re.compile(r"^\s{2,}\*{0,2}(\w+)(?:\s*\([^)]*\))?\s*:\s*(.*)$")
_SPHINX = re.compile(r"^\s*:param(?:\s+[^:]*?)?\s+(\w+):\s*(.*)$")
_SECTION = re.compile(r"^(Args|Arguments|Parameters|Attributes|Keyword Args):\s*$")


def summary(node: ast.AST) -> str:
    """Return the first line of the docstring of a class or function."""
    return _docstring(node).partition("\n")[0].strip()


def parameter_docs(*nodes: ast.AST) -> dict[str, str]:
    """Return what the docstrings of a class and of its `__init__` say about each parameter."""
    docs: dict[str, str] = {}
    for node in nodes:
        docs = _of_text(_docstring(node)) | docs
    return docs


def _of_text(text: str) -> dict[str, str]:
    docs: dict[str, str] = {}
    current, depth, inside = "", 0, False
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if match := _SPHINX.match(line):
            current, depth = match[1], indent
            docs[current] = match[2].strip()
        elif _SECTION.match(line):
            inside, current = True, ""
        elif line.strip() and not indent:
            inside, current = False, ""
        elif current and indent > depth:
            docs[current] = f"{docs[current]} {line.strip()}".strip()
        elif inside and (match := _GOOGLE.match(line)):
            current, depth = match[1], indent
            docs[current] = match[2].strip()
    return docs


def _docstring(node: ast.AST) -> str:
    match getattr(node, "body", None):
        case [ast.Expr(value=ast.Constant(value=str(text))), *_]:
            return cleandoc(text)
    return ""
