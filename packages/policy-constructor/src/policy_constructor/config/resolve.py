"""The order of resolution: read, merge, override, expand, interpolate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_constructor.config.includes import Loader, check_version
from policy_constructor.config.interpolate import Interpolator
from policy_constructor.config.merge import Merger, TooLargeError
from policy_constructor.config.node import Node, Source, dotted
from policy_constructor.config.overrides import apply_override, parse_overrides
from policy_constructor.config.references import escape
from policy_constructor.config.report import CLI, Report
from policy_constructor.config.resolved import ResolvedConfig, definition_of
from policy_constructor.config.templates import expand_templates, take_templates
from policy_constructor.config.unknown import report_lookalikes
from policy_constructor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path as FilePath

    from policy_constructor.config.merge import LeftOver
    from policy_constructor.config.node import Mark, Path

__all__ = ["resolve_config"]


def resolve_config(
    source: str | FilePath | Mapping[str, object],
    overrides: Sequence[str] = (),
    *,
    find_recipe: Callable[[str], FilePath | None] | None = None,
    recipe_names: Callable[[], Iterable[str]] = tuple,
    included_from: Mark | None = None,
    strict: bool = True,
    extra_layer: Node | None = None,
    section_keys: Mapping[str, Collection[str]] | None = None,
) -> ResolvedConfig:
    """Resolve a configuration: includes, merges, overrides, templates and references.

    Args:
        source: A file, the name of a recipe, or a mapping.
        overrides: Arguments of the command line, such as `optimizer.lr=1e-4`.
        find_recipe: Finds the file of a recipe by its name.
        recipe_names: Returns the names of all recipes; asked when a file is missing.
        included_from: Where the file was named, if in another one.
        strict: Raise when anything is wrong; else return what there is, with `problems` filled in
            and the values that failed poisoned.
        extra_layer: Nodes of another resolved configuration to lay over the files and under the
            overrides; they keep their places.
        section_keys: By dotted section (`trainer`, `models.*`), the keys that belong to the
            section whatever its `_type_` is; they are not left over when the type changes.

    Raises:
        ConfigError: With every problem found, in file order; only when `strict`.
    """
    report = Report()
    loader = Loader(report, find_recipe, recipe_names)
    loader.load(source, included_from)
    cli = Source(CLI)
    overrides = [overrides] if isinstance(overrides, str) else overrides
    edits = parse_overrides(overrides, cli, report)
    files = [edit.file for edit in edits if edit.file is not None]
    text = "\n".join(line for given in (cli, *files) for line in given.lines)
    merger = Merger(report, has_directives=loader.has_merge or "_merge_" in text or "+" in text)
    try:
        layers = loader.layers if extra_layer is None else [*loader.layers, _adopt(extra_layer)]
        root = _merge_layers(layers, merger)
        for edit in edits:
            root = apply_override(root, edit, merger, report)
        root, templates = take_templates(root, report)
        if loader.has_template or "_template_" in text:
            root = expand_templates(root, templates, merger, report)
    except TooLargeError as error:
        report.add(error.node.mark, str(error), error.path, code="too-large")
        root = Node({}, poisoned=True)
    check_version(root, report)
    Interpolator(root, report).run()
    report_lookalikes(root, report)
    _report_left_over(root, merger, report, section_keys or {})
    sources = [*loader.sources, cli, *files] if overrides else loader.sources
    problems = report.sorted()
    if strict and problems:
        raise ConfigError(problems)
    return ResolvedConfig(root, problems, sources, report.incomplete)


def _adopt(node: Node) -> Node:
    """Return a copy of resolved nodes in which no text is read as a reference again."""
    value = node.value
    if isinstance(value, dict):
        value = {key: _adopt(child) for key, child in value.items()}
    elif isinstance(value, list) and _holds_reference(node):
        value = [_adopt(child) for child in value]
    elif isinstance(value, str):
        value = escape(value)
    adopted = Node(value, node.mark, node.key_mark, poisoned=node.poisoned, from_env=node.from_env)
    defined = definition_of(node)
    if defined is not node and defined.value is value:
        adopted.via = defined
    return adopted


def _holds_reference(node: Node) -> bool:
    """Whether a text below a node looks like a reference."""
    if isinstance(node.value, str):
        return "${" in node.value
    return any(_holds_reference(child) for _, child in node.items())


def _merge_layers(layers: list[Node], merger: Merger) -> Node:
    root: Node | None = None
    for layer in layers:
        root = merger.merge(root, layer, ())
    return root if root is not None and root.is_mapping else Node({}, poisoned=True)


def _report_left_over(
    root: Node, merger: Merger, report: Report, section_keys: Mapping[str, Collection[str]]
) -> None:
    """Report parameters that were written for a `_type_` which a later layer exchanged."""
    for found in merger.left_over.values():
        now = root.child(*found.path)
        new = root.child(*found.owner, "_type_")
        if now is None or new is None or new.poisoned or not _is_same(now, found.node):
            continue
        key = str(found.path[len(found.owner)])
        belongs = (key in section_keys[p] for p in section_keys if _matches(p, found.owner))
        if not any(belongs) and not _means_same(new.value, found.type_node.value):
            _report_one(found, new, report)
            now.poisoned = True


def _report_one(found: LeftOver, new: Node, report: Report) -> None:
    place = found.node.key_mark or found.node.mark
    where = f" from {place.to_location()}" if place else ""
    message = f"left over{where}, where `_type_` was {found.type_node.value!r}"
    advice = "`_merge_: replace` beside `_type_`, or the parameter set again"
    report.add(new.mark, message, found.path, code="left-over", expected=advice)


def _is_same(now: Node, then: Node) -> bool:
    """Whether a value is still the one that was left over, and not an override of today."""
    if now.mark is None:
        return now is then
    return now.mark is then.mark and now.mark.source.name != CLI


def _means_same(new: object, old: object) -> bool:
    """Whether two `_type_` values name the same component: `torch` and `loss.torch` may."""
    if not isinstance(new, str) or not isinstance(old, str) or "${" in old:
        return True
    first, second = new.rpartition("::")[2], old.rpartition("::")[2]
    return first == second or first.endswith(f".{second}") or second.endswith(f".{first}")


def _matches(pattern: str, path: Path) -> bool:
    parts = pattern.split(".")
    keys = dotted(path).split(".")
    return len(parts) == len(keys) and all(
        part in {"*", key} for part, key in zip(parts, keys, strict=True)
    )
