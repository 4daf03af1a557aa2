"""Pieces of a report as HTML: text from runs is escaped here and nowhere else."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from trainer_core.engine.curves import draw_svg

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from trainer_core.engine.curves import Series

__all__ = ["figures", "folded", "heading", "page", "paragraph", "show", "table"]

_STYLE = """\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;display:block;overflow-x:auto}
td,th{border-bottom:1px solid #ddd;padding:.2rem .8rem;text-align:left;max-width:30rem;
overflow-wrap:anywhere}
td.n{text-align:right;font-variant-numeric:tabular-nums}
pre{background:#f6f6f6;padding:1rem;overflow:auto;font-size:13px}
.curves{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0}
figcaption{font-size:13px;max-width:26rem;overflow-wrap:anywhere}
.big{font-size:1.3rem}.bad{color:#b3261e;white-space:pre-wrap}
"""
_LONGEST = 500
_MOST_FIGURES = 60


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page; it loads nothing."""
    head = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>"
    )
    return "\n".join([head, *parts, "</body></html>", ""])


def heading(text: str, level: int = 2) -> str:
    """Return a heading."""
    return f"<h{level}>{_text(text)}</h{level}>"


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph; `kind` is `big` or `bad`."""
    return f"<p class='{kind}'>{_text(text)}</p>" if kind else f"<p>{_text(text)}</p>"


def table(rows: Iterable[Sequence[Any]], head: Sequence[str] = ()) -> str:
    """Return a table; numbers stand to the right."""
    lines = ["<table>"]
    if head:
        lines.append(f"<tr>{''.join(f'<th>{_text(cell)}</th>' for cell in head)}</tr>")
    for row in rows:
        cells = []
        for cell in row:
            kind = " class='n'" if isinstance(cell, int | float) else ""
            cells.append(f"<td{kind}>{_text(show(cell))}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</table>"])


def figures(charts: Mapping[str, Mapping[str, Series]]) -> list[str]:
    """Return a figure for each chart that has a curve of two points."""
    drawn = [
        f"<figure>{draw_svg(curves)}<figcaption>{_text(name)}</figcaption></figure>"
        for name, curves in charts.items()
        if any(len(points) > 1 for points in curves.values())
    ]
    if not drawn:
        return []
    rest = len(drawn) - _MOST_FIGURES
    more = [paragraph(f"and {rest} more")] if rest > 0 else []
    return [heading("Curves"), "<div class='curves'>", *drawn[:_MOST_FIGURES], "</div>", *more]


def folded(title: str, text: str) -> list[str]:
    """Return preformatted text under a heading."""
    return [heading(title), f"<pre>{escape(text)}</pre>"] if text else []


def show(value: Any) -> str:
    """Return a value as a short text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _text(text: str) -> str:
    return escape(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
