"""What a component accepts: its parameters, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["Parameter", "ParameterKind", "Signature"]

ParameterKind: TypeAlias = Literal["positional-only", "positional", "keyword-only"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a constructor or function.

    Attributes:
        name: Its name.
        kind: `positional` parameters can be given by position and by name.
        annotation: A typing object; `Any` where it is missing or not understood.
        required: Whether there is no default.
        default: The default; None where it is not a literal.
        default_source: The default as it stands in the source; empty without one.
        doc: What the docstring says about it.
    """

    name: str
    kind: ParameterKind = "positional"
    annotation: Any = Any
    required: bool = True
    default: Any = None
    default_source: str = ""
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a component accepts.

    Attributes:
        parameters: Its named parameters in their order.
        accepts_any_keyword: Whether it also takes names that are not among them.
        accepts_any_positional: Whether it takes any number of positional arguments.
        doc: First line of its docstring.
        model: The Pydantic model that states the parameters, where the author gives one.
        problem: Why the author's model could not be used; nothing is known then.
    """

    parameters: dict[str, Parameter] = field(default_factory=dict)
    accepts_any_keyword: bool = False
    accepts_any_positional: bool = False
    doc: str = ""
    model: Any = None
    problem: str = ""
