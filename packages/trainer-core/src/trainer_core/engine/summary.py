"""What a run is about to train: its components and their parameters, as numbers and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

    from torch import nn

    from trainer_core.engine.built import Experiment

__all__ = ["count_parameters", "introduce", "parameter_table", "short"]

_COLUMNS = ("component", "trained", "frozen", "total", "dtype", "MB")
_LONGEST_NAME = 28


def count_parameters(models: nn.ModuleDict) -> list[dict[str, Any]]:
    """Return a row per component: its parameters, of which type, and their memory in MB."""
    rows = []
    for name, module in models.items():
        parameters = list(module.parameters())
        trained = sum(p.numel() for p in parameters if p.requires_grad)
        total = sum(p.numel() for p in parameters)
        dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in parameters})
        held = [*parameters, *module.buffers()]
        rows.append(
            {
                "component": name,
                "trained": trained,
                "frozen": total - trained,
                "total": total,
                "dtype": "+".join(dtypes) or "-",
                "MB": sum(t.numel() * t.element_size() for t in held) / 1e6,
            }
        )
    return rows


def parameter_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table of components, with their sum where there are several."""
    shown = [*rows]
    if len(rows) > 1:
        sums = {key: sum(row[key] for row in rows) for key in ("trained", "frozen", "total", "MB")}
        shown.append({"component": "all", "dtype": "", **sums})
    cells = [_COLUMNS, *(tuple(_cell(row[column]) for column in _COLUMNS) for row in shown)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number in {0, 4} else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def introduce(experiment: Experiment, stream: TextIO) -> None:
    """Write the table of what is going to be trained, on a terminal only."""
    if not stream.isatty():
        return  # the loggers say how many parameters there are
    rows = count_parameters(experiment.models)
    try:
        stream.write("".join(f"{line}\n" for line in parameter_table(rows)))
        stream.flush()
    except OSError:  # the terminal has gone: nobody wants to know
        return


def short(number: float) -> str:
    """Return a count in three digits: 1.23M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def _cell(value: Any) -> str:
    if isinstance(value, str):
        is_long = len(value) > _LONGEST_NAME
        return f"{value[: _LONGEST_NAME - 3]}..." if is_long else value
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
