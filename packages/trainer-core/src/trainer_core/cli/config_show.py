"""`trainer config show`: the resolved file, and where each value comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy_constructor.config import describe_source, dotted, to_plain, to_yaml
from policy_constructor.config.scalars import format_text
from trainer_core.cli.arguments import config_parser, parse_config_line
from trainer_core.cli.config_files import problems_of, resolve_for_reading

if TYPE_CHECKING:
    from policy_constructor.config import Node, Path, ResolvedConfig
    from trainer_core.cli.model_values import NamedFile
    from trainer_core.experiment.parameters import Slot

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Print a file after includes, templates, references and overrides; it is not validated."""
    parser = config_parser("config show", "Print the resolved file.")
    parser.add_argument("--sources", action="store_true", help="say where each value comes from")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    options = parse_config_line(parser, argv)
    resolved, plugins = resolve_for_reading(options.config, options.overrides)
    from trainer_core.cli.model_values import named_files, with_lasting_names

    root = with_lasting_names(resolved, plugins)
    files = list(named_files(resolved, plugins)) if options.sources else []
    unset: list[Slot] = []
    if options.sources:
        from trainer_core.experiment.parameters import slots_of

        unset = _unset(resolved, slots_of(resolved, plugins))
    if options.json:
        import json

        document: dict[str, Any] = {"config": to_plain(root)}
        if options.sources:
            document["sources"] = _sources(resolved.root, ())
            for model in files:
                document["sources"] |= _sources(model.file.root, model.place)
            document["defaults"] = {dotted(slot.path): _default(slot) for slot in unset}
        print(json.dumps(document, indent=1))
    else:
        print(to_yaml(root, sources=options.sources, remarks=_remarks(unset)), end="")
        for model in files:
            print(_as_comment(model), end="")
    return 2 if problems_of(resolved) else 0


def _as_comment(model: NamedFile) -> str:
    """Return a model file with its sources as comment lines, so that the whole stays one file."""
    lines = to_yaml(model.file, sources=True).splitlines()
    title = f"# {dotted(model.place)} is:"
    return "\n".join(["", title, *(f"#   {line}" for line in lines)]) + "\n"


def _unset(resolved: ResolvedConfig, slots: dict[Path, Slot]) -> list[Slot]:
    """Return the parameters that the file leaves at their defaults."""
    return [
        slot
        for path, slot in slots.items()
        if resolved.node(*path) is None and not slot.parameter.required
    ]


def _remarks(unset: list[Slot]) -> dict[Path, list[str]]:
    """Return a comment for each default, by the path of the mapping it belongs to."""
    remarks: dict[Path, list[str]] = {}
    for slot in unset:
        line = f"{format_text(slot.parameter.name)}: {slot.default}  ({slot.origin})"
        remarks.setdefault(slot.path[:-1], []).append(" ".join(line.splitlines()))
    return remarks


def _default(slot: Slot) -> dict[str, Any]:
    return {"default": slot.default, "of": slot.owner, "wheel": slot.wheel}


def _sources(node: Node, path: Path) -> dict[str, dict[str, Any]]:
    """Return, for each value that holds no others, where it comes from, by its dotted key."""
    if (node.is_mapping or node.is_list) and node.value:
        return {
            key: record
            for name, child in node.items()
            for key, record in _sources(child, (*path, name)).items()
        }
    place = node.mark.to_location() if node.mark is not None else None
    record = {
        "file": place.file if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "origin": describe_source(node),
        "referenced": node.uses,
    }
    return {dotted(path): record}
