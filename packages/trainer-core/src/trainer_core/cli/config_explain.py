"""`trainer config explain`: the whole history of one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy_constructor.config import dotted, find_path, history_of, parse_path
from policy_constructor.config.scalars import show
from policy_constructor.signatures.value_words import type_text
from policy_constructor.spelling import nearest
from trainer_core.cli.arguments import config_parser, parse_config_line
from trainer_core.cli.config_files import problems_of, resolve_for_reading
from trainer_core.cli.model_values import named_files
from trainer_core.errors import UserError
from trainer_core.experiment.parameters import slots_of

if TYPE_CHECKING:
    from policy_constructor.config import History, Node, Path, Place, ResolvedConfig
    from trainer_core.discovery.plugins import Plugins
    from trainer_core.experiment.parameters import Slot

__all__ = ["main"]

_MOST_USERS = 5


def main(argv: list[str]) -> int:
    """Print where a value was set, what it replaced, what brought it and who uses it."""
    parser = config_parser("config explain", "Tell the history of one value.")
    parser.usage = "trainer config explain CONFIG KEY [a.b=c ...] [options]"
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    options = parse_config_line(parser, argv, key="a dotted key, such as optimizer.lr")
    resolved, plugins = resolve_for_reading(options.config, options.overrides)
    path, history, slot = _find(options.key, resolved, plugins)
    if options.json:
        import json

        print(json.dumps(_document(path, history, slot), indent=1))
    else:
        print("\n".join(_lines(path, history, slot)))
    return 2 if problems_of(resolved) else 0


def _find(
    text: str, resolved: ResolvedConfig, plugins: Plugins
) -> tuple[Path, History | None, Slot | None]:
    """Return the path that a dotted key means, the history of its value and its parameter.

    Raises:
        UserError: There is neither a value nor a parameter, in the file or in its model files.
    """
    slots = slots_of(resolved, plugins)
    keys = _keys(text)
    path = find_path(resolved.root, keys)
    if path is not None:
        return path, history_of(resolved, path), slots.get(path)
    known = {dotted(known) for known in slots} | set(_paths(resolved.root, ()))
    for model in named_files(resolved, plugins):
        slots |= model.slots(plugins)
        known |= {dotted(each) for each in slots} | set(_paths(model.file.root, model.place))
        length = len(model.place)
        inner = find_path(model.file.root, keys[length:]) if keys[:length] == model.place else None
        if inner:
            path = (*model.place, *inner)
            return path, model.history(inner), slots.get(path)
    if keys not in slots:
        near = nearest(text, sorted(known), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        msg = f"there is no value {text!r} and no parameter of that name{hint}"
        raise UserError(msg)
    return keys, None, slots[keys]


def _keys(text: str) -> Path:
    try:
        return parse_path(text)
    except ValueError as error:
        raise UserError(str(error)) from None


def _paths(node: Node, path: Path) -> list[str]:
    below = [found for key, child in node.items() for found in _paths(child, (*path, key))]
    return [dotted(path), *below] if path else below


def _lines(path: Path, history: History | None, slot: Slot | None) -> list[str]:
    """Return the history in words, the newest event first."""
    if history is None:
        lines = [f"{dotted(path)} is not set", *_unset_lines(slot)]
    else:
        node = history.node
        lines = [f"{dotted(path)}: {show(node)}", f"  set at {_place(node)}"]
        lines += _source_line(node)
        if history.definition is not node:
            lines += _replaced_lines(node)
        lines += [f"  through {_through(place, path)}" for place in history.through]
        if history.definition is not node:
            lines += [f"  defined at {_place(history.definition)}"]
            lines += _source_line(history.definition)
        if isinstance(history.definition.via, str):
            lines.append(f"  computed from {history.definition.via}")
        lines += _replaced_lines(history.definition)
        lines += _user_lines(history)
    if slot is not None:
        lines += _slot_lines(slot, is_set=history is not None)
    return lines


def _unset_lines(slot: Slot | None) -> list[str]:
    if slot is None or slot.parameter.required:
        return []
    return [f"  its value is {slot.default}, the {slot.origin}"]


def _slot_lines(slot: Slot, *, is_set: bool) -> list[str]:
    parameter = slot.parameter
    kind = type_text(parameter.annotation)
    line = f"  a parameter of {slot.owner} ({slot.wheel}){f': {kind}' if kind else ''}"
    if parameter.required:
        line += ", required"
    elif is_set:
        line += f", default {slot.default}"
    return [line, *([f"    {parameter.doc}"] if parameter.doc else [])]


def _replaced_lines(node: Node) -> list[str]:
    return [f"  replaces {show(old)} from {_place(old)}" for old in node.replaced]


def _user_lines(history: History) -> list[str]:
    uses = history.node.uses
    if not uses and not history.users:
        return []
    lines = [f"  referenced {'once' if uses == 1 else f'{uses} times'}"]
    shown = history.users[:_MOST_USERS]
    lines += [f"    by {dotted(place.path)} at {_place(place.node)}" for place in shown]
    more = len(history.users) - _MOST_USERS
    return [*lines, *([f"    and by {more} more"] if more > 0 else [])]


def _through(place: Place, path: Path) -> str:
    name = place.node.expression or "the alias"
    owner = "" if place.path == path else f" of {dotted(place.path)}"
    return f"{name}{owner} at {_place(place.node)}"


def _place(node: Node) -> str:
    if node.mark is None:
        return "no place: it was set in Python"
    location = node.mark.to_location()
    chain = "".join(f", included from {outer}" for outer in location.included_from)
    return f"{location}{chain}"


def _source_line(node: Node) -> list[str]:
    text = node.mark.to_location().text.strip() if node.mark else ""
    return [f"    {text}"] if text else []


def _document(path: Path, history: History | None, slot: Slot | None) -> dict[str, Any]:
    document: dict[str, Any] = {"path": dotted(path), "set": history is not None}
    if history is not None:
        from policy_constructor.config import to_plain

        document |= {
            "value": to_plain(history.node),
            "place": _place_json(history.node),
            "through": [
                {"path": dotted(p.path), "expression": p.node.expression, **_place_json(p.node)}
                for p in history.through
            ],
            "definition": _place_json(history.definition),
            "computed_from": history.definition.via
            if isinstance(history.definition.via, str)
            else None,
            "replaced": [
                {"value": to_plain(old), **_place_json(old)}
                for old in dict.fromkeys((*history.node.replaced, *history.definition.replaced))
            ],
            "referenced": history.node.uses,
            "referenced_by": [
                {"path": dotted(p.path), **_place_json(p.node)} for p in history.users
            ],
        }
    if slot is not None:
        parameter = slot.parameter
        document["parameter"] = {
            "of": slot.owner,
            "wheel": slot.wheel,
            "type": type_text(parameter.annotation),
            "required": parameter.required,
            "default": slot.default or None,
            "doc": parameter.doc,
        }
    return document


def _place_json(node: Node) -> dict[str, Any]:
    place = node.mark.to_location() if node.mark else None
    return {
        "file": place.file if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "included_from": [str(outer) for outer in place.included_from] if place else [],
    }
