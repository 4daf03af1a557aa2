"""Single mistakes made in right files, each with the line it is on and what would mend it.

Nine kinds, for every key of a file: misspelt, dropped, wrong type, wrong place, wrong reference,
cyclic, duplicated, out of range, and a wrong name where the value names something.

A mistake is *rightly accepted* when the file means something without it:

- a key that `REQUIRED` does not list was dropped (it has a default, or a base file sets it);
- a name that the user chooses (`FREE`) was spelt differently, and nothing else mentions it;
- a value is outside a range that its component does not have (`WITHOUT_RANGE`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.yaml_text import Entry, YamlText

__all__ = ["Mistake", "single_mistakes", "typos"]

REQUIRED = (
    *("defaults", "run", "run.name", "run.out_dir", "model", "models", "models.*.config"),
    *("data", "data.task", "data.root", "data.batch_size", "data.x_shape", "data.y_shape"),
    *("io", "io.model_kwargs", "io.model_kwargs.*", "loss.fn", "optimizer", "scheduler.type"),
    *("trainer", "trainer.max_steps", "evaluation.task", "*_type_", "*.in_features"),
    *(
        "*.out_features",
        "model.sequential",
        "model.sequential.layers",
        "model.state_dim",
        "model.action_dim",
    ),
    *("model.horizon", "model.sources", "data.windows.action"),
)
"""Dotted keys without which a whole file means nothing; a file with `defaults` needs only that."""

FREE = (*("models.?*", "*sources.*", "io.targets.*", "*cameras.*"),)
"""Dotted keys whose last part is a name that the user, or the data, chooses."""

NAMING = (
    *("*_type_", "*.config", "*.type", "*.solver", "*.device", "*.precision", "*normalize.*"),
    "data.keys.*",
)
"""Dotted keys whose value is one of a few known names."""

OUT_OF_RANGE = {
    **dict.fromkeys(("batch_size", "max_steps", "log_every_n_steps", "threads", "steps"), "0"),
    **dict.fromkeys(("width", "horizon", "heads", "state_dim", "action_dim", "episodes"), "0"),
    **dict.fromkeys(("n_obs_steps", "n_action_steps", "num_inference_steps", "peak_lr"), "0"),
    **dict.fromkeys(("demonstrations", "total_steps", "grad_clip_norm", "memory_tokens"), "0"),
    **dict.fromkeys(("weight_decay", "warmup_steps", "noise", "num_workers", "every"), "-1"),
    "decay": "1.5",
    "schema_version": "2",
    "run.seed": "-1",
    "layers": "-1",
}
"""A value outside the range of each key that has one, by its last part or its dotted path."""

WITHOUT_RANGE = (("experiment.yaml", "params.width"),)
"""Values that only torch's own classes take, which state no range: a layer may have no units."""

_REFERENCE = re.compile(r"\$\{([a-z_][a-z_0-9.]*)\}")


@dataclass(frozen=True)
class Mistake:
    """One damaged file.

    Attributes:
        kind: Kind of the mistake.
        file: The file, relative to the folder of the corpus.
        key: The dotted key it was made at.
        text: The damaged text.
        lines: Lines that are the mistaken one.
        explained: Lines that may be reported besides: where the key is missing or referred to.
        wanted: The right spelling, for misspellings.
        may_pass: Whether the file means something all the same.
    """

    kind: str
    file: str
    key: str
    text: str
    lines: frozenset[int]
    explained: frozenset[int] = frozenset()
    wanted: str = ""
    may_pass: bool = False


def single_mistakes(file: YamlText) -> Iterator[Mistake]:
    """Yield every single mistake of a file."""
    is_fragment = any(entry.path == ("defaults",) for entry in file.entries)
    for entry in file.entries:
        uses = _uses(file, entry)
        if entry.key is not None:
            yield from _misspelt(file, entry, uses)
            if not entry.text.startswith("&"):  # an anchor, whose aliases would dangle
                yield _dropped(file, entry, uses, is_fragment=is_fragment)
            yield from _misplaced(file, entry, uses)
            text, line = file.doubled(entry)
            yield Mistake("duplicated", file.name, _dotted(entry), text, frozenset({line}))
        yield from _wrong_type(file, entry, uses)
        yield from _cyclic(file, entry, uses)
        yield from _out_of_range(file, entry)
        yield from _wrong_name(file, entry)
        yield from _wrong_reference(file, entry)


def typos(name: str) -> list[str]:
    """Return a name with two letters swapped, one left out, one doubled, one replaced."""
    head, _, word = name.rpartition("/") if "/" in name else name.rpartition(".")
    if name.endswith(".yaml"):
        head, _, word = name.removesuffix(".yaml").rpartition("/")
    prefix, suffix = name[: len(name) - len(word)], ""
    if name.endswith(".yaml"):
        prefix, suffix = f"{head}/" if head else "", ".yaml"
    at = len(word) // 2
    found = [
        word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :] if at else "",
        word[:at] + word[at + 1 :],
        word[:at] + word[at : at + 1] + word[at:],
        word[:at] + ("q" if word[at : at + 1] != "q" else "k") + word[at + 1 :],
    ]
    distinct = dict.fromkeys(typo for typo in found if typo and typo != word)
    return [f"{prefix}{typo}{suffix}" for typo in distinct]


def _misspelt(file: YamlText, entry: Entry, uses: frozenset[int]) -> Iterator[Mistake]:
    if entry.key is None or (entry.in_flow and len(entry.name) < 2):
        return
    key = _dotted(entry)
    is_of_data = key.startswith(("data.normalize.", "data.windows."))
    is_free = _matches(key, FREE) or (is_of_data and _lacks_data(file))
    for typo in typos(entry.name) if "." not in entry.name else ():
        text = file.replaced(entry.key, typo)
        yield Mistake(
            "misspelt",
            file.name,
            key,
            text,
            frozenset({entry.line}),
            explained=uses,
            wanted="" if is_free else entry.name,
            may_pass=is_free,
        )


def _lacks_data(file: YamlText) -> bool:
    """Return whether a recipe is for a data set that the user brings: nobody knows its keys."""
    return "_type_: lerobot" in file.text


def _dropped(file: YamlText, entry: Entry, uses: frozenset[int], *, is_fragment: bool) -> Mistake:
    key = _dotted(entry)
    needed = key == "defaults" if is_fragment else _matches(key, REQUIRED)
    shift = entry.last_line - entry.line + 1 if not entry.in_flow else 0
    if key == "defaults":  # whatever the other files hold may be missing in any section
        uses = frozenset(range(1, len(file.lines) + 1))
    moved = frozenset(line - shift if line > entry.last_line else line for line in uses)
    return Mistake(
        "dropped",
        file.name,
        key,
        file.without(entry),
        entry.parent_lines | moved,
        may_pass=not needed,
    )


def _misplaced(file: YamlText, entry: Entry, uses: frozenset[int]) -> Iterator[Mistake]:
    """Move an entry to the root of the file, and a section's entry into `run`."""
    key = _dotted(entry)
    shift = entry.last_line - entry.line + 1 if not entry.in_flow else 0
    uses = frozenset(line - shift if line > entry.last_line else line for line in uses)
    if len(entry.path) > 1:
        text, line = file.moved_to_root(entry)
        explained = entry.parent_lines | uses
        lines = frozenset({line}) | _twins(file, entry.name, ())
        yield Mistake("misplaced", file.name, key, text, lines, explained)
    run = next((other for other in file.entries if other.path == ("run",)), None)
    if run is None or run.in_flow or run.line == run.last_line or entry.path[0] == "run":
        return
    without = file.without(entry).splitlines(keepends=True)
    start = next(i for i, line in enumerate(without) if line.startswith("run:")) + 1
    block = file.as_block(entry, "  ")
    text = "".join([*without[:start], block, *without[start:]])
    height = block.count("\n")
    explained = entry.parent_lines | uses
    explained |= frozenset(line + height if line > start else line for line in explained)
    yield Mistake(
        "misplaced",
        file.name,
        key,
        text,
        frozenset({start + 1})
        | frozenset(
            line + height if line > start else line for line in _twins(file, entry.name, ("run",))
        ),
        explained,
        may_pass=entry.name == "name" and not _twins(file, "name", ("run",)),  # a run has one too
    )


def _twins(file: YamlText, name: str, parent: tuple[str, ...]) -> frozenset[int]:
    """Return the lines of a key that stands already where an entry is moved to."""
    return frozenset(entry.line for entry in file.entries if entry.path == (*parent, name))


def _wrong_type(file: YamlText, entry: Entry, uses: frozenset[int]) -> Iterator[Mistake]:
    if entry.kind != "scalar":
        values = ["7", "wide"]
    elif re.fullmatch(r"[-+.0-9e]+", entry.text):
        values = ["wide", "[1, 2]"]
    elif entry.text in {"true", "false"}:
        values = ["maybe", "3"]
    else:
        values = ["{unexpected: [null]}", "[[1], 2]"]
    lines = frozenset({entry.line, entry.value_line})
    for value in values:
        text = file.with_value(entry, value)
        yield Mistake("wrong type", file.name, _dotted(entry), text, lines, uses)


def _cyclic(file: YamlText, entry: Entry, uses: frozenset[int]) -> Iterator[Mistake]:
    if "." in entry.name:
        return
    lines = frozenset({entry.line, entry.value_line})
    targets = [entry.path, entry.path[:-1]] if len(entry.path) > 1 else [entry.path]
    for target in targets:
        if not any("." in part for part in target):
            text = file.with_value(entry, f'"${{{".".join(target)}}}"')
            yield Mistake("cyclic", file.name, _dotted(entry), text, lines, uses)


def _out_of_range(file: YamlText, entry: Entry) -> Iterator[Mistake]:
    key = _dotted(entry)
    value = OUT_OF_RANGE.get(key) or OUT_OF_RANGE.get(entry.name)
    if value is not None and entry.kind == "scalar" and "${" not in entry.text:
        text = file.with_value(entry, value)
        is_legal = (file.name, key) in WITHOUT_RANGE
        lines = frozenset({entry.line})
        yield Mistake("out of range", file.name, key, text, lines, may_pass=is_legal)


def _wrong_name(file: YamlText, entry: Entry) -> Iterator[Mistake]:
    """Misspell a value that names a component, a file or one of a few choices."""
    key = _dotted(entry)
    is_name = _matches(key, NAMING) or entry.path[0] == "defaults"
    if entry.kind != "scalar" or not is_name:
        return
    for typo in typos(entry.text):
        text = file.with_value(entry, typo)
        lines = frozenset({entry.line})
        is_unknown = key.startswith("data.keys.") and _lacks_data(file)
        wanted = "" if is_unknown else entry.text
        yield Mistake("wrong name", file.name, key, text, lines, wanted=wanted, may_pass=is_unknown)
    if entry.name == "_type_":
        other = "model_checkpoint" if "callbacks" not in key else "local"
        text = file.with_value(entry, other)
        yield Mistake("wrong name", file.name, key, text, frozenset({entry.line}))


def _wrong_reference(file: YamlText, entry: Entry) -> Iterator[Mistake]:
    """Misspell a reference, and let it go one step too deep."""
    found = _REFERENCE.search(entry.text) if entry.kind == "scalar" else None
    if found is None:
        return
    start = entry.value[0] + found.start(1)
    span = start, start + len(found[1])
    lines = frozenset({entry.line})
    for typo in typos(found[1]):
        text = file.replaced(span, typo)
        yield Mistake("wrong reference", file.name, _dotted(entry), text, lines, wanted=found[1])
    text = file.replaced(span, f"{found[1]}.deeper")
    yield Mistake("wrong reference", file.name, _dotted(entry), text, lines)


def _uses(file: YamlText, entry: Entry) -> frozenset[int]:
    """Return the lines with a reference to an entry or below it."""
    wanted = _dotted(entry)
    return frozenset(
        number
        for number, line in enumerate(file.lines, 1)
        for found in _REFERENCE.findall(line)
        if found == wanted or found.startswith(f"{wanted}.")
    )


def _dotted(entry: Entry) -> str:
    return ".".join(entry.path)


def _matches(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)
