"""The keys of a component's spec against its signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args, get_origin

from policy_constructor.config.node import Node, free_names, to_plain
from policy_constructor.signatures.params_model import model_problems
from policy_constructor.signatures.value_words import type_text
from policy_constructor.signatures.values import find_mismatch, is_partly_known, is_spec
from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from policy_constructor.config.node import Path
    from policy_constructor.signatures.parameters import Parameter, Signature

__all__ = ["NestedSpec", "Report", "check_arguments", "misspelt_type", "nested_specs"]

_SPEC_KEYS = frozenset({"_type_", "_target_", "_args_", "_kwargs_"})
_DIRECTIVES = ("_type_", "_merge_", "_value_", "_template_", "_args_", "_kwargs_")


class Report(Protocol):
    """Takes a problem: `report(path, message, code=..., suggestions=..., on="key")`."""

    def __call__(self, path: Path, message: str, /, **details: Any) -> object:
        """Take one problem."""
        ...


class NestedSpec(NamedTuple):
    """A component inside another one's parameters, for the caller to check in turn.

    Attributes:
        path: Where it is.
        node: Its mapping, with `_type_`.
        annotation: What the parameter that holds it is annotated with.
    """

    path: Path
    node: Node
    annotation: Any


class _Given(NamedTuple):
    """One argument as it is written in the file."""

    path: Path
    node: Node


def check_arguments(
    signature: Signature | None,
    node: Node,
    path: Path,
    *,
    owner: str,
    report: Report,
    supplied: frozenset[str] = frozenset(),
    skip: frozenset[str] = frozenset({"_type_"}),
    unchecked: Callable[[Node], bool] | None = None,
) -> list[NestedSpec]:
    """Report every argument of a spec that does not fit; return the components nested in it.

    Args:
        signature: What the component accepts; None checks nothing and only looks for components.
        node: The spec: a mapping of parameters, also with `_args_` and `_kwargs_`.
        path: Where the spec is.
        owner: What messages call the component (`loss.kot`).
        report: Takes each problem. Codes: `unknown-key`, `missing-key`, `wrong-type`,
            `wrong-value`, `supplied-key`, `duplicate-key`, `params-model`.
        supplied: Parameters that the framework gives.
        skip: Keys that are no parameters.
        unchecked: Tells values whose type is not known, such as `$x` in a graph.
    """
    if node.poisoned or not node.is_mapping:
        return []
    check = _Check(signature, owner, report, supplied, unchecked)
    named = check.named_arguments(node, path, skip)
    positional = check.positional_arguments(node, path)
    if signature is not None:
        check.run(path, positional, named)
    annotations = check.annotations(positional, named)
    return [
        nested
        for given, annotation in annotations
        for nested in nested_specs(given.node, given.path, annotation)
    ]


def nested_specs(node: Node, path: Path, annotation: Any = Any) -> list[NestedSpec]:
    """Return the outermost components at or below a value."""
    if is_spec(node):
        return [NestedSpec(path, node, annotation)] if "_type_" in node.value else []
    return [
        nested
        for key, child in node.items()
        for nested in nested_specs(child, (*path, key), annotation)
    ]


def misspelt_type(node: Node) -> str | None:
    """Return the key of a mapping that is probably meant to be `_type_`."""
    if not node.is_mapping or is_spec(node):
        return None
    near = [str(key) for key in node.value if nearest(str(key), ["_type_"])]
    return near[0] if near else None


class _Check:
    """The check of one spec."""

    def __init__(
        self,
        signature: Signature | None,
        owner: str,
        report: Report,
        supplied: frozenset[str],
        unchecked: Callable[[Node], bool] | None,
    ) -> None:
        self.signature = signature
        self.parameters: Mapping[str, Parameter] = signature.parameters if signature else {}
        self.owner = owner
        self._report = report
        self.supplied = supplied
        self.unchecked = unchecked
        self.is_complete = True
        self.is_clean = True

    def report(self, path: Path, message: str, **details: Any) -> None:
        """Pass a problem on."""
        self.is_clean = False
        self._report(path, message, **details)

    def named_arguments(self, node: Node, path: Path, skip: frozenset[str]) -> dict[str, _Given]:
        """Return the arguments given by name, inline and under `_kwargs_`."""
        named = {
            str(key): _Given((*path, key), child)
            for key, child in node.items()
            if key not in skip and key not in _SPEC_KEYS
        }
        extra = node.value.get("_kwargs_")
        if extra is None or extra.poisoned:
            self.is_complete = self.is_complete and extra is None
            return named
        place = (*path, "_kwargs_")
        if not extra.is_mapping:
            self.report(place, "'_kwargs_' must be a mapping of parameters", code="wrong-type")
            self.is_complete = False
        for key, child in extra.items() if extra.is_mapping else ():
            if key in named:
                message = f"{key!r} is set twice: here and beside '_kwargs_'"
                self.report((*place, key), message, on="key", code="duplicate-key")
            else:
                named[str(key)] = _Given((*place, key), child)
        return named

    def positional_arguments(self, node: Node, path: Path) -> list[_Given]:
        """Return the arguments under `_args_`."""
        given = node.value.get("_args_")
        if given is None:
            return []
        place = (*path, "_args_")
        if given.poisoned or not given.is_list:
            self.is_complete = False
            if not given.poisoned:
                self.report(place, "'_args_' must be a list of values", code="wrong-type")
            return []
        return [_Given((*place, index), child) for index, child in given.items()]

    def run(self, path: Path, positional: list[_Given], named: dict[str, _Given]) -> None:
        """Report unknown, missing and wrong arguments."""
        signature = self.signature
        if signature is None:
            return
        if signature.problem:
            self.report(path, f"{self.owner}: {signature.problem}", code="params-model")
        by_position = self._by_position(signature)
        if len(positional) > len(by_position) and not signature.accepts_any_positional:
            message = f"{self.owner} takes at most {_counted(len(by_position))}"
            place = positional[len(by_position)].path
            self.report(place, f"{message}, found {len(positional)}", code="unknown-key")
        taken = {p.name: given for p, given in zip(by_position, positional, strict=False)}
        for name, given in taken.items():
            if name in named:
                message = f"{name!r} is set twice: here and as positional argument"
                self.report(named[name].path, message, on="key", code="duplicate-key")
                continue
            self._check_value(self.parameters[name], given)
        missing = self._missing(taken, named)
        free = self.parameters.keys() - taken.keys() - self.supplied
        holder = Node({name: given.node for name, given in named.items()})
        for name, given in named.items():
            if name not in taken:
                self._check_named(name, given, missing, free_names(holder, name, free))
        for parameter in missing:
            self._report_missing(parameter, path)
        if signature.model is not None and self.is_clean and self.is_complete:
            self._check_together(signature.model, path, named)

    def annotations(
        self, positional: list[_Given], named: dict[str, _Given]
    ) -> list[tuple[_Given, Any]]:
        """Pair each argument with the annotation of its parameter."""
        by_position = self._by_position(self.signature) if self.signature else []
        pairs: list[tuple[_Given, Any]] = [(given, Any) for given in positional]
        for index, parameter in enumerate(by_position[: len(positional)]):
            pairs[index] = (positional[index], parameter.annotation)
        for name, given in named.items():
            known = self.parameters.get(name)
            pairs.append((given, known.annotation if known else Any))
        return pairs

    def _by_position(self, signature: Signature) -> list[Parameter]:
        """Return the parameters that `_args_` fill, in order."""
        return [
            p
            for p in signature.parameters.values()
            if p.kind != "keyword-only" and p.name not in self.supplied
        ]

    def _missing(self, taken: Mapping[str, _Given], named: Mapping[str, _Given]) -> list[Parameter]:
        if not self.is_complete:
            return []
        given = {*taken, *named, *self.supplied}
        return [p for p in self.parameters.values() if p.required and p.name not in given]

    def _check_named(
        self, name: str, given: _Given, missing: list[Parameter], free: list[str]
    ) -> None:
        """Check one argument given by name; a misspelled required one is not missing as well."""
        parameter = self.parameters.get(name)
        if name in self.supplied:
            message = f"{self.owner} gets {name!r} from the framework; a file cannot set it"
            self.report(given.path, message, on="key", code="supplied-key")
        elif parameter is None:
            self._report_unknown(name, given, missing, free)
        elif parameter.kind == "positional-only":
            message = f"{self.owner} takes {name!r} by position only, under '_args_'"
            self.report(given.path, message, on="key", code="unknown-key")
            missing[:] = [p for p in missing if p.name != name]
        else:
            self._check_value(parameter, given)

    def _report_unknown(
        self, name: str, given: _Given, missing: list[Parameter], free: list[str]
    ) -> None:
        signature = self.signature
        if signature is None or signature.accepts_any_keyword:
            return
        directives = _DIRECTIVES if name.startswith("_") else ()
        near = nearest(name, [*free, *directives])
        self.report(
            given.path,
            f"{self.owner} has no parameter {name!r}",
            on="key",
            code="unknown-key",
            suggestions=near,
        )
        missing[:] = [p for p in missing if p.name not in near[:1]]

    def _report_missing(self, parameter: Parameter, path: Path) -> None:
        annotation = type_text(parameter.annotation)
        kind = f" ({annotation})" if annotation else ""
        self.report(path, f"{self.owner} needs {parameter.name!r}{kind}", code="missing-key")

    def _check_together(self, model: Any, path: Path, named: dict[str, _Given]) -> None:
        """Report what an author's model says about values that are right one by one."""
        if any(is_partly_known(given.node, self.unchecked) for given in named.values()):
            return
        values = {name: to_plain(given.node) for name, given in named.items()}
        for inner, message in model_problems(model, values):
            place = (*named[inner[0]].path, *inner[1:]) if inner and inner[0] in named else path
            self.report(place, f"{self.owner}: {message}", code="wrong-value")

    def _check_value(self, parameter: Parameter, given: _Given) -> None:
        """Report a value of the wrong type, at the innermost place that is wrong."""
        if _equals_default(parameter, given.node):
            return
        found = find_mismatch(parameter.annotation, given.node, given.path, self.unchecked)
        if found is None:
            for place in _near_types(given.node, given.path):
                self._report_misspelt_type(place)
            return
        misspelt = misspelt_type(found.node)
        if misspelt is not None:
            self._report_misspelt_type((*found.path, misspelt))
            return
        suggestions: tuple[str, ...] = ()
        if isinstance(found.node.value, str):
            suggestions = nearest(found.node.value, _choices(found.annotation))
        self.report(found.path, found.message, code="wrong-type", suggestions=suggestions)

    def _report_misspelt_type(self, place: Path) -> None:
        self.report(
            place,
            f"unknown key {place[-1]!r}",
            on="key",
            code="unknown-key",
            suggestions=("_type_",),
        )


def _near_types(node: Node, path: Path) -> Iterator[Path]:
    """Yield the keys `_tpye_` of mappings that would be right with any key."""
    misspelt = misspelt_type(node)
    if misspelt is not None and misspelt.startswith("_") and misspelt.endswith("_"):
        yield (*path, misspelt)
    elif not is_spec(node):
        for key, child in node.items():
            yield from _near_types(child, (*path, key))


def _equals_default(parameter: Parameter, node: Node) -> bool:
    """Whether a value is the very default, whatever the annotation says about it."""
    value = node.value
    if parameter.required:
        return False
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - NaN
        return "nan" in parameter.default_source
    return value is None and parameter.default_source == "None"


def _choices(annotation: Any) -> list[str]:
    """Return the strings that a `Literal`, also inside a union, allows."""
    if get_origin(annotation) is Literal:
        return [choice for choice in get_args(annotation) if isinstance(choice, str)]
    return [choice for member in get_args(annotation) for choice in _choices(member)]


def _counted(number: int) -> str:
    return f"{number} positional argument{'' if number == 1 else 's'}"
