"""What the types of parameters mean, read from source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from policy_constructor.signatures.signature import Signature

TYPES = [
    ("int", int),
    ("None", None),
    ("'int'", int),
    ("int | None", int | None),
    ("Optional[int]", int | None),
    ("Union[int, str]", int | str),
    ("typing.List[int]", list[int]),
    ("t.Dict[str, float]", dict[str, float]),
    ("Sequence[str]", list[str]),
    ("tuple[int, ...]", tuple[int, ...]),
    ("tuple[int, str]", tuple[int, str]),
    ("list", list[Any]),
    ("list[Missing]", list[Any]),
    ("set[int]", set[int]),
    ("Missing", Any),
    ("Missing | None", Any),
    ("int | Any", Any),
    ("object", Any),
    ("Final[int]", int),
    ("Pair", tuple[int, int]),
    ("Scalar[int]", int | tuple[int, int]),
    ("Number", int | float),
    ("Seconds", float),
    ("Bounded", Any),
    ("Data", Any),
    ("Text", Any),
    ("Row", Any),
    ("x.y.z", Any),
    ("1 + 2", Any),
    ("'int |'", Any),
    ("Loop", Any),
    ("type[int]", Any),
]

PRELUDE = """
import typing, typing as t
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NewType, Optional, TypeVar, TypedDict, Union
T = TypeVar("T")
B = TypeVar("B", bound=int)
Pair = tuple[int, int]
Scalar = Union[T, tuple[T, T]]
Number = int | float
Seconds = NewType("Seconds", float)
Bounded = Callable
class Data(TypedDict):
    a: int
class Text(str): ...
@dataclass
class Row:
    a: int
class Net: ...
class Mode(Enum):
    FAST = "fast"
    SLOW = "slow"
Loop = Loop
Modes = Literal["a", "b"]
"""


def annotation_of(read: Callable[[str], Signature | None], text: str) -> Any:
    source = f"{PRELUDE}\nclass Kot:\n    def __init__(self, a: {text}): ...\n"
    signature = read(source)
    assert signature is not None
    return signature.parameters["a"].annotation


@pytest.mark.parametrize(("text", "expected"), [t for t in TYPES if t[0] != "Bounded"])
def test_annotation_is_understood_without_evaluation(
    signature_of: Callable[[str], Signature | None], text: str, expected: object
) -> None:
    assert annotation_of(signature_of, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Literal['a', 'b']", "Literal['a', 'b']"),
        ("Literal[1, None, True]", "Literal[1, None, True]"),
        ("Modes | None", "Literal['a', 'b'] | None"),
        ("Literal[Modes, 'c']", "Literal['a', 'b', 'c']"),
        ("Mode", "Literal['fast', 'slow']"),
        ("Path", "Path"),
        ("B", "int"),
        ("Net", "Net"),
        ("Net | None", "Net | None"),
        ("int | Net", "int | Net"),
        ("int | Missing", "int | Opaque"),
        ("Callable[[int], int]", "Callable"),
        ("str | Callable[..., int]", "str | Callable"),
        ("list[int | Net]", "list[int | Net]"),
        ("dict[str, Net]", "dict[str, Net]"),
    ],
)
def test_annotation_text_after_reading(
    signature_of: Callable[[str], Signature | None], text: str, expected: str
) -> None:
    from policy_constructor.signatures.value_words import type_text

    assert type_text(annotation_of(signature_of, text)) == expected
