"""Rows -> a plain table: whole in a pipe, made to fit a terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["table", "terminal_width"]

_GAP = "  "
_LEAST = 12


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None = None,
    elastic: str = "",
) -> str:
    """Return the rows below their headings, each column as wide as its widest cell.

    Args:
        headings: Names of the columns.
        rows: The cells.
        width: Columns of the terminal; None: any width will do.
        elastic: Heading of the column that is shortened, or left out, where the table is wider.
    """
    lines = [list(headings), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - (width or sys.maxsize)
    if excess > 0 and elastic in headings:
        column = list(headings).index(elastic)
        widths[column] -= excess
        if widths[column] < _LEAST:
            del widths[column]
            lines = [line[:column] + line[column + 1 :] for line in lines]
        else:
            for line in lines:
                line[column] = _shortened(line[column], widths[column])
    return "\n".join(
        _GAP.join(cell.ljust(size) for cell, size in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def terminal_width() -> int | None:
    """Return the columns of the terminal that stdout is; None if it is a pipe, a file or closed."""
    if sys.stdout is None:
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):  # no terminal, or no file at all
        return None


def _shortened(text: str, width: int) -> str:
    """Return the end of a text, which tells a class from its neighbours."""
    return text if len(text) <= width else f"...{text[len(text) - width + 3 :]}"
