"""The results of a sweep as a table that fits the terminal."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["short_key", "to_table"]

_ALWAYS = 2  # number and status stay, however narrow the terminal is
_LAST = (
    *("lr", "data_s", "forward_s", "backward_s", "optimizer_s", "step_s"),
    *("data_share", "samples_per_s", "mfu"),
)


def to_table(records: Sequence[Mapping[str, Any]], width: int = 0) -> str:
    """Return a table with a row for each trial.

    Args:
        records: The trials of `sweep.json`.
        width: Columns of the terminal; 0: as many as it has. Results that do not fit are left out
            and counted below.
    """
    width = width or shutil.get_terminal_size((100, 24)).columns
    columns = _columns(records)
    widths = [max(map(len, column)) for column in columns]
    count, used = 0, 0
    while count < len(columns) and (count < _ALWAYS or used + widths[count] <= width):
        used += widths[count] + 2
        count += 1
    rows = zip(*columns[:count], strict=True)
    lines = [
        "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]
    left = len(columns) - count
    if left:
        lines.append(f"and {left} more {'column' if left == 1 else 'columns'} in sweep.json")
    return "\n".join(lines)


def _columns(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the columns, the most telling ones first, each with its heading."""
    keys = list(records[0]["values"]) if records else []
    columns = [
        ["trial", *(str(record["number"]) for record in records)],
        ["status", *(record["status"] for record in records)],
    ]
    columns += [
        [short_key(key, keys), *(record["values"][key] for record in records)] for key in keys
    ]
    columns.append(["steps", *(str(record["step"]) for record in records)])
    headings = {column[0] for column in columns}
    for group, name in _results(records):
        if name in headings:  # lr: what the trials set tells more than where a schedule ended
            continue
        columns.append([name, *(_number(record[group].get(name)) for record in records)])
    columns.append(["s", *(f"{record['wall_s']:.0f}" for record in records)])
    return columns


def short_key(key: str, keys: Sequence[str]) -> str:
    """Return the last part of a key if no other ends like it."""
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in keys) == 1 else key


def _results(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the numbers that runs report: evaluation, validation, training, speed."""
    found: dict[tuple[str, str], None] = {}
    for group in ("evaluation", "metrics"):
        for record in records:
            for name, value in record[group].items():
                is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
                if is_number and not name.startswith("eval/"):
                    found[group, name] = None
    return sorted(found, key=_rank)


def _rank(result: tuple[str, str]) -> int:
    group, name = result
    if group == "evaluation":
        return 0 if name == "success_rate" else 3
    if name in _LAST:
        return 4
    return 1 if name.startswith("val") else 2


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}"
