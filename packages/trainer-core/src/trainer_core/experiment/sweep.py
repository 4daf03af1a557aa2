"""`lr=1e-3,1e-4 seed=range(3)` -> the trials of a grid, each a list of overrides."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from policy_constructor.config import Mark, Source, dotted, nearest, parse_path
from policy_constructor.config.references import escape
from policy_constructor.config.scalars import format_scalar
from policy_constructor.errors import ConfigError, Problem
from trainer_core.experiment.schema import ExperimentConfig, RunSection

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from policy_constructor.config import Node, Path, ResolvedConfig

__all__ = ["Axis", "Trial", "build_trials", "parse_axes"]

MAX_TRIALS = 1000
_LONGEST_NAME = 60
_FUNCTION = re.compile(r"(range|linspace|logspace)\((.*)\)")
_QUOTED = re.compile(r"""'[^']*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_UNSAFE = re.compile(r"[^A-Za-z0-9_.+=,-]+")
_CLOSING = {"[": "]", "{": "}", "(": ")"}


@dataclass(frozen=True, slots=True)
class Axis:
    """One swept value: its dotted key, and its values as overrides write them."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of a grid.

    Attributes:
        number: Its place in the grid, from 0; the last axis changes fastest.
        name: Its number and values, fit for a folder: `2-lr=1e-3,seed=0`.
        values: What it sets, by dotted key.
    """

    number: int
    name: str
    values: dict[str, str]

    def overrides(self, out_dir: str | None) -> list[str]:
        """Return its changes; `out_dir` is the sweep's folder, None keeps the file's."""
        changes = [f"{key}={value}" for key, value in self.values.items()]
        if out_dir is not None:
            folder = json.dumps(escape(f"{out_dir}/{self.name}"))
            changes.append(f"run.out_dir={folder}")
        return changes


class _SyntaxMistake(Exception):  # noqa: N818 - becomes a problem with its place
    def __init__(self, message: str, start: int, end: int, suggestions: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.start, self.end = start, end
        self.suggestions = tuple(suggestions)


def parse_axes(arguments: Sequence[str], resolved: ResolvedConfig) -> list[Axis]:
    """Read the arguments of `--sweep`.

    A key of one word that is no section of the file means a key of `run`, or the only value of that
    name in the file: `seed` is `run.seed`.

    Raises:
        ConfigError: With every mistake, each placed in its argument.
    """
    source = Source("<sweep>", list(arguments))
    axes: dict[str, Axis] = {}
    problems: list[Problem] = []
    for line, argument in enumerate(arguments, start=1):
        try:
            axis = _parse(argument, resolved, taken=axes)
            axes[axis.key] = axis
        except _SyntaxMistake as mistake:
            mark = Mark(source, line, mistake.start + 1, line, max(mistake.end, 1) + 1)
            problems.append(
                Problem(
                    str(mistake),
                    location=mark.to_location(),
                    code="sweep",
                    suggestions=mistake.suggestions,
                )
            )
    if problems:
        raise ConfigError(problems)
    return list(axes.values())


def build_trials(axes: Sequence[Axis]) -> list[Trial]:
    """Return every combination of the axes' values.

    Raises:
        ConfigError: There are more than 1000.
    """
    count = math.prod(len(axis.values) for axis in axes)
    if count > MAX_TRIALS:
        message = f"the sweep has {count} trials; at most {MAX_TRIALS} are run"
        raise ConfigError(Problem(message, code="sweep"))
    keys = [axis.key for axis in axes]
    combinations = itertools.product(*(axis.values for axis in axes))
    return [
        Trial(number, _name(number, keys, values), dict(zip(keys, values, strict=True)))
        for number, values in enumerate(combinations)
    ]


def _name(number: int, keys: Sequence[str], values: Sequence[str]) -> str:
    parts = (f"{key.rpartition('.')[2]}={value}" for key, value in zip(keys, values, strict=True))
    short = _UNSAFE.sub("-", ",".join(parts))[:_LONGEST_NAME].rstrip("-.,")
    return f"{number}-{short}"


def _parse(argument: str, resolved: ResolvedConfig, taken: Collection[str]) -> Axis:
    key, equals, text = argument.partition("=")
    if not equals or not key:
        message = "a sweep is key=value,value; there is no '='"
        raise _SyntaxMistake(message, 0, len(argument))
    if not text.strip():
        message = f"{key} has no values"
        raise _SyntaxMistake(message, 0, len(argument))
    full = _full_key(key, resolved)
    if full in taken:
        message = f"{full} is swept twice"
        raise _SyntaxMistake(message, 0, len(key))
    return Axis(full, tuple(_values(text, len(key) + 1)))


def _full_key(key: str, resolved: ResolvedConfig) -> str:
    try:
        path = parse_path(key)
    except ValueError as error:
        raise _SyntaxMistake(str(error), 0, len(key)) from None
    if path[0] == "defaults":
        message = "files are read before a sweep is applied; `defaults` cannot be swept"
        raise _SyntaxMistake(message, 0, len(key))
    if len(path) > 1 or key in {*ExperimentConfig.model_fields, "model"}:
        return key
    if key in RunSection.model_fields:
        return f"run.{key}"
    named = {dotted(found): found[-1] for found in _values_below(resolved.root, ())}
    meant = [full for full, last in named.items() if last == key]
    if len(meant) == 1:
        return meant[0]
    if meant:
        message = f"{key!r} may be {' or '.join(meant)}; write the whole key"
        raise _SyntaxMistake(message, 0, len(key))
    near = set(nearest(key, [str(name) for name in named.values()]))
    message = f"there is no value called {key!r}; write its whole key"
    raise _SyntaxMistake(message, 0, len(key), [full for full in named if named[full] in near])


def _values_below(node: Node, path: Path) -> Iterator[Path]:
    """Yield the paths of the scalars that are written as such, and not as references."""
    if node.expression is None:
        if not node.is_mapping and not node.is_list and path:
            yield path
        for name, child in node.items():
            yield from _values_below(child, (*path, name))


def _values(text: str, offset: int) -> list[str]:
    found: list[str] = []
    for start, part in _split(text, offset):
        stripped = part.strip()
        end = start + len(part)
        function = _FUNCTION.fullmatch(stripped)
        if not stripped:
            message = "a value is missing between two commas; write null for none"
            raise _SyntaxMistake(message, max(start - 1, offset), max(end, start))
        found += _series(function, start, end) if function else [stripped]
    return found


def _split(text: str, offset: int) -> Iterator[tuple[int, str]]:
    """Yield the parts between commas outside brackets and quotes, each with its place."""
    closing: list[str] = []
    start = 0
    masked = _QUOTED.sub(lambda quoted: "_" * len(quoted[0]), text)
    for position, character in enumerate(masked):
        if character in "\"'":  # it has no partner
            closing.append(character)
            break
        if character in _CLOSING:
            closing.append(_CLOSING[character])
        elif closing and character == closing[-1]:
            closing.pop()
        elif character == "," and not closing:
            yield offset + start, text[start:position]
            start = position + 1
    if closing:
        message = f"there is no closing {closing[-1]}"
        raise _SyntaxMistake(message, offset, offset + len(text))
    yield offset + start, text[start:]


def _series(call: re.Match[str], start: int, end: int) -> list[str]:
    """Return the values of `range(a, b, step)`, `linspace(a, b, n)` or `logspace(a, b, n)`."""
    function, arguments = call.groups()
    try:
        numbers: list[Any] = [
            int(text) if function == "range" else float(text) for text in arguments.split(",")
        ]
        series = _range(numbers) if function == "range" else _space(function, numbers)
    except (ValueError, OverflowError):
        usage = {"range": "whole numbers: range(stop) or range(start, stop, step)"}
        wanted = usage.get(function, f"{function}(first, last, count)")
        if function == "logspace":
            wanted += " with positive ends"
        message = f"{call[0]} is not understood; it takes {wanted}"
        raise _SyntaxMistake(message, start, end) from None
    if not series:
        message = f"{call[0]} has no values"
        raise _SyntaxMistake(message, start, end)
    return series


def _range(numbers: list[int]) -> list[str]:
    if len(numbers) > 3:
        raise ValueError
    return [str(value) for value in itertools.islice(range(*numbers), MAX_TRIALS + 1)]


def _space(function: str, numbers: list[float]) -> list[str]:
    """Return evenly spaced numbers, or numbers with equal ratios, both ends included."""
    first, last, wanted = numbers
    count = int(wanted)
    if count != wanted or not 1 <= count <= MAX_TRIALS:
        raise ValueError
    if function == "logspace":
        first, last = math.log10(first), math.log10(last)
    steps = max(count - 1, 1)
    points = [first + (last - first) * index / steps for index in range(count)]
    values = [10**point for point in points] if function == "logspace" else points
    return [format_scalar(float(f"{value:.10g}")) for value in values]
