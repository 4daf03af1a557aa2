"""Random damage to right files: to their bytes, and to the values at their keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from benchmarks.yaml_text import YamlText

__all__ = ["damaged", "damaged_bytes"]

_PIECES = (
    *(
        b"\x00",
        b"\xff",
        b"\xe2\x80",
        b"\t",
        b"\n",
        b"\r",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"- ",
    ),
    *(
        b"&a ",
        b"*a",
        b"!!int ",
        b"? ",
        b"<<: ",
        b"|\n",
        b">",
        b"%YAML",
        b"---\n",
        b"...",
        b"#",
        b"'",
    ),
    *(b'"', b"${", b"${params", b"}", b"${env:HOME}", b"$x", b"_type_: ", b"_merge_: append", b"~"),
    *(
        b"_template_: a",
        b"1e999",
        b"-0",
        b".nan",
        b"9" * 5000,
        b"{" * 90,
        b"[" * 90,
        b"\xf0\x9f\x98\x80",
    ),
)
_LEAVES = (None, True, 0, -1, 1.5, float("inf"), "", "x", "${a}", "${params}", "a" * 300, 10**30)
_KEYS = ("_type_", "_target_", "_args_", "_kwargs_", "_merge_", "_value_", "_template_", "a", "")


def damaged(files: Sequence[YamlText], random: Random) -> tuple[str, bytes]:
    """Return the name of a file and what is in it after random damage."""
    file = random.choice(files)
    if random.random() < 0.5:
        return file.name, damaged_bytes(file.text.encode(), random)
    return file.name, _with_values_changed(file, random)


def damaged_bytes(data: bytes, random: Random) -> bytes:
    """Delete, repeat, overwrite or insert in up to four places."""
    for _ in range(random.randint(1, 4)):
        start = random.randrange(len(data) + 1)
        end = min(len(data), start + random.choice((0, 1, 2, 8, 60, 400)))
        change = random.randrange(4)
        if change == 0:
            data = data[:start] + data[end:]
        elif change == 1:
            data = data[:end] + data[start:end] * random.choice((1, 3)) + data[end:]
        elif change == 2:
            data = data[:start] + random.randbytes(end - start) + data[end:]
        else:
            data = data[:start] + random.choice(_PIECES) + data[start:]
    return data


def _with_values_changed(file: YamlText, random: Random) -> bytes:
    """Put random values, keys and whole trees at random places of the document."""
    document = yaml.load(file.text, Loader=yaml.SafeLoader)
    for _ in range(random.randint(1, 3)):
        holder: Any = document
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = random.choice(keys)
            if not isinstance(holder[key], (dict, list)) or random.random() < 0.3:
                holder[key] = _tree(random, 4)
                break
            holder = holder[key]
        if isinstance(holder, dict) and random.random() < 0.3:
            holder[random.choice(_KEYS)] = _tree(random, 3)
    return json.dumps(document, indent=1).encode()


def _tree(random: Random, depth: int) -> Any:
    kind = random.randrange(4) if depth else 0
    if kind == 2:
        return [_tree(random, depth - 1) for _ in range(random.randrange(4))]
    if kind == 3:
        return {random.choice(_KEYS): _tree(random, depth - 1) for _ in range(random.randrange(4))}
    return random.choice(_LEAVES)
