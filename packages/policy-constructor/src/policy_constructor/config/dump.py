"""The resolved tree as YAML, and where each value came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_constructor.config.node import Node
from policy_constructor.config.references import escape
from policy_constructor.config.resolved import definition_of
from policy_constructor.config.scalars import format_scalar, format_text, show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from policy_constructor.config.node import Path
    from policy_constructor.config.resolved import ResolvedConfig

__all__ = ["describe_source", "to_yaml"]

_LINE = 88
_NO_REMARKS: Mapping[Path, Sequence[str]] = {}


def describe_source(node: Node) -> str:
    """Return where a value came from, what it replaced and how often `${...}` took it.

    For example `exp.yaml:3:9 (replaces 256 from base.yaml:3:9; referenced 2 times)`.
    """
    parts = []
    defined = definition_of(node)
    if defined is not node:
        parts.append(f"{node.expression or 'alias'} from {_place(defined)}")
        parts += _env_note(defined)
    else:
        parts += _env_note(node)
    if node.replaced:
        old = node.replaced[0]
        place = f" from {_place(old)}" if old.mark else ""
        parts.append(f"replaces {show(old)}{place}")
    if node.uses:
        parts.append("referenced once" if node.uses == 1 else f"referenced {node.uses} times")
    return f"{_place(node)} ({'; '.join(parts)})" if parts else _place(node)


def _place(node: Node) -> str:
    return str(node.mark.to_location()) if node.mark else "set in Python"


def _env_note(node: Node) -> list[str]:
    return [f"from {node.via!r}"] if isinstance(node.via, str) else []


def to_yaml(
    resolved: ResolvedConfig | Node,
    *,
    sources: bool = False,
    redact_env: bool = False,
    remarks: Mapping[Path, Sequence[str]] = _NO_REMARKS,
) -> str:
    """Return the tree as YAML that reads back equal.

    Args:
        resolved: A resolved configuration or one of its nodes.
        sources: Write after each value where it came from.
        redact_env: Write `${env:...}` expressions, not the values they had: these may be secrets.
        remarks: Comment lines to write at the end of the mappings at these paths.
    """
    root = resolved if isinstance(resolved, Node) else resolved.root
    writer = _Writer(sources=sources, redact_env=redact_env, remarks=remarks)
    writer.write(root, "", "", ())
    return "\n".join(writer.lines) + "\n"


class _Writer:
    def __init__(
        self, *, sources: bool, redact_env: bool, remarks: Mapping[Path, Sequence[str]]
    ) -> None:
        self.sources = sources
        self.redact_env = redact_env
        self.remarks = remarks
        self.lines: list[str] = []

    def write(self, node: Node, lead: str, indent: str, path: Path) -> None:
        """Write a value after `lead` (`key:` or `-`); what goes below it is indented."""
        inline = self.inline(node, _LINE - len(lead))
        if inline is not None:
            line = f"{lead} {inline}" if lead else inline
            self.lines.append(f"{line}  # {_comment(node)}" if self.sources else line)
            return
        is_item = node.is_mapping and lead.endswith("-")
        if lead and not is_item:
            self.lines.append(lead)
        for position, (key, child) in enumerate(node.items()):
            start = f"{lead} " if is_item and position == 0 else indent
            name = f"{format_text(str(key))}:" if node.is_mapping else "-"
            self.write(child, start + name, indent + "  ", (*path, key))
        if node.is_mapping:
            self.lines += [f"{indent}# {remark}" for remark in self.remarks.get(path, ())]

    def inline(self, node: Node, width: int) -> str | None:
        """Return a value that goes on one line, None for one that needs several."""
        if self.redact_env and node.from_env and node.expression is not None:
            return format_text(node.expression)
        value = node.value
        if isinstance(value, str):
            return format_text(escape(value))
        if not isinstance(value, (dict, list)):
            return format_scalar(value)
        if not value:
            return "{}" if isinstance(value, dict) else "[]"
        if isinstance(value, dict):
            return None
        return self.inline_list(value, width)

    def inline_list(self, items: list[Node], width: int) -> str | None:
        """Return a short list of scalars, all written in the same line, as `[a, b]`."""
        places = {(n.mark.source, n.mark.line) if n.mark else None for n in items}
        if any(item.is_mapping or item.is_list for item in items):
            return None
        if self.sources and len(places) > 1:
            return None
        written = [str(self.inline(item, width)) for item in items]
        text = f"[{', '.join(written)}]"
        return text if len(text) <= width else None


def _comment(node: Node) -> str:
    return "".join(c if c.isprintable() else " " for c in describe_source(node))
