"""The episodes of an evaluation as a table: in columns on a terminal, a line each elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

__all__ = ["episode_grid", "episode_lines"]

_COLUMNS = ("episode", "success", "steps", "return")
_GAP = 4


def episode_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a head and one line for each episode; none without episodes."""
    names = _names(rows)
    if not names:
        return []
    widths = _widths(rows, names)
    cells = [names, *([_cell(row, name) for name in names] for row in rows)]
    return ["  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in cells]


def episode_grid(rows: Sequence[Mapping[str, Any]], width: int) -> Table:
    """Return a table with as many episodes side by side as a terminal of that width shows."""
    from rich.table import Table
    from rich.text import Text

    names = _names(rows)
    widths = _widths(rows, names)
    one = sum(widths) + 2 * (len(widths) - 1)
    beside = max(1, min((width + _GAP) // (one + _GAP), -(-len(rows) // 5)))
    height = -(-len(rows) // beside)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for group in range(beside):
        for name, size in zip(names, widths, strict=True):
            is_last = name == names[-1] and group < beside - 1
            table.add_column(name, justify="right", min_width=size, no_wrap=True)
            if is_last:
                table.add_column("", min_width=_GAP - 2, no_wrap=True)
    for line in range(height):
        cells: list[Text] = []
        for group in range(beside):
            number = group * height + line
            row = rows[number] if number < len(rows) else {}
            cells += [Text(_cell(row, name), style=_style(row, name)) for name in names]
            if group < beside - 1:
                cells.append(Text(""))
        table.add_row(*cells)
    return table


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [name for name in _COLUMNS if any(name in row for row in rows)]


def _widths(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[int]:
    return [max(len(name), *(len(_cell(row, name)) for row in rows)) for name in names]


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if name == "success" and name in row:
        return "broken" if row.get("error") else "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    return "" if value is None else str(value)


def _style(row: Mapping[str, Any], name: str) -> str:
    if name != "success" or name not in row:
        return ""
    return "red" if row.get("error") else "green" if row.get("success") else "yellow"
