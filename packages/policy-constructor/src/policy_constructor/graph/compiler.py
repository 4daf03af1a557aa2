"""A `model:` section -> `GraphIR`: names, order, references, blocks and calls, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from policy_constructor.config import ResolvedConfig, resolve_config, sort_problems
from policy_constructor.config.node import dotted
from policy_constructor.discovery.registry import blocks_registry, ops_registry
from policy_constructor.errors import ConfigError
from policy_constructor.graph.forward import read_forward
from policy_constructor.graph.ir import GraphIR, InputIR, ModuleIR, Ref, SpecIR
from policy_constructor.graph.linker import link
from policy_constructor.graph.reporting import Reporter
from policy_constructor.graph.schema import read_graph, read_sequential, section_kind
from policy_constructor.graph.settings import SETTINGS_KEYS, Policy, read_settings
from policy_constructor.graph.specs import SpecCompiler, is_spec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path as FilePath

    from policy_constructor.config.node import Node, Path
    from policy_constructor.discovery.registry import Registry

__all__ = ["compile_graph"]

_FILE_KEYS = ("schema_version", "settings", "defaults", "templates", "params", "model")


@overload
def compile_graph(
    source: str | FilePath | Mapping[str, Any] | ResolvedConfig,
    *,
    section: Path = ...,
    blocks: Registry[Any] | None = ...,
    ops: Registry[Any] | None = ...,
    policy: Policy = ...,
    strict: Literal[True] = ...,
    skip: frozenset[str] = ...,
    whole_file: bool | None = ...,
) -> GraphIR: ...
@overload
def compile_graph(
    source: str | FilePath | Mapping[str, Any] | ResolvedConfig,
    *,
    section: Path = ...,
    blocks: Registry[Any] | None = ...,
    ops: Registry[Any] | None = ...,
    policy: Policy = ...,
    strict: bool,
    skip: frozenset[str] = ...,
    whole_file: bool | None = ...,
) -> GraphIR | None: ...


def compile_graph(
    source: str | FilePath | Mapping[str, Any] | ResolvedConfig,
    *,
    section: Path = ("model",),
    blocks: Registry[Any] | None = None,
    ops: Registry[Any] | None = None,
    policy: Policy = "strict",
    strict: bool = True,
    skip: frozenset[str] = frozenset(),
    whole_file: bool | None = None,
) -> GraphIR | None:
    """Compile a model section. Nothing that the section names is imported.

    Args:
        source: A file, a mapping, or what `resolve_config` made of them.
        section: Path of the section.
        blocks: Blocks to choose from; the installed ones by default.
        ops: Ops to choose from; the installed ones by default.
        policy: How arguments are held against signatures where the file's
            `settings.signature_policy` says nothing; see `ModelSettings`.
        strict: Whether to raise. Otherwise the problems are appended to `source.problems`.
        skip: Keys of the section that belong to somebody else.
        whole_file: Whether the file is a model file, so that other top-level keys are mistakes;
            by default unless `source` is a `ResolvedConfig`.

    Returns:
        The graph; None if it has problems and `strict` is False.

    Raises:
        ConfigError: All problems of the file and of the section, in file order.
    """
    if whole_file is None:
        whole_file = not isinstance(source, ResolvedConfig)
    if isinstance(source, ResolvedConfig):
        resolved = source
    else:
        resolved = resolve_config(source, strict=False)
    report = Reporter(resolved)
    settings = read_settings(resolved, policy, report)
    meant = _check_file(resolved, report) if whole_file else set()
    specs = SpecCompiler(blocks_registry() if blocks is None else blocks, settings, report)
    compiler = _SectionCompiler(specs, ops_registry() if ops is None else ops, report)
    node = resolved.node(*section)
    graph = None
    if node is not None:
        graph = compiler.compile(node, section, skip)
    elif not resolved.incomplete and section[-1] not in meant:
        report.error(section[:-1], f"{str(section[-1])!r} is missing", code="missing-key")
    if strict and (resolved.problems or report.problems):
        raise ConfigError(sort_problems([*resolved.problems, *report.problems]))
    resolved.problems.extend(report.problems)
    return None if report.problems else graph


def _check_file(resolved: ResolvedConfig, report: Reporter) -> set[str]:
    """Check the top-level keys; return those that a misspelt one probably means."""
    settings = resolved.node("settings")
    if settings is not None and settings.value is not None:
        found = report.expect_mapping(settings, ("settings",), "'settings'")
        report.expect_keys(found or {}, ("settings",), SETTINGS_KEYS, "'settings'")
    if not isinstance(resolved.root.value, dict):
        return set()
    return report.expect_keys(resolved.root.value, (), _FILE_KEYS, "a model file")


class _SectionCompiler:
    """Compiles a section and those inside it."""

    def __init__(self, specs: SpecCompiler, ops: Registry[Any], report: Reporter) -> None:
        self.specs = specs
        self.ops = ops
        self.report = report

    def compile(self, node: Node, path: Path, skip: frozenset[str] = frozenset()) -> GraphIR | None:
        """Return the graph of a section, or None after recording what is wrong."""
        before = len(self.report.problems)
        kind = section_kind(node, path, self.report, skip)
        if kind is None:
            return None
        if kind == "spec":
            return self._block(node, path, skip)
        read = read_sequential if kind == "sequential" else read_graph
        section = read(node.value[kind], (*path, kind), self.report)
        if section is None:
            return None
        warned = len(self.report.warnings)
        bodies = {name: self._body(*item) for name, item in section.modules.items()}
        steps = link(section, bodies, self.ops, self.report, self.specs.settings.policy)
        if len(self.report.problems) > before:
            return None
        return GraphIR(
            inputs=tuple(item.name for item in section.inputs),
            outputs=tuple(section.output_names),
            return_kind=section.return_kind,
            input_specs=tuple(section.inputs),
            returns=tuple(Ref(output.name) for output in section.outputs),
            modules=tuple(ModuleIR(name, body) for name, body in bodies.items() if body),
            steps=tuple(steps),
            open_inputs=not section.complete,
            path=dotted(path),
            location=node.mark.to_location() if node.mark else None,
            warnings=tuple(self.report.warnings[warned:]),
        )

    def _body(self, node: Node, path: Path) -> SpecIR | GraphIR | None:
        """Return what a module is built from: a block, or a section inside this one."""
        if node.poisoned:
            return None
        return self.specs.compile(node, path) if is_spec(node) else self.compile(node, path)

    def _block(self, node: Node, path: Path, skip: frozenset[str]) -> GraphIR | None:
        spec = self.specs.compile(node, path, skip)
        if spec is None:
            return None
        forward = read_forward(spec.target)
        names = dict.fromkeys((*forward.positional, *forward.named)) if forward else {}
        required = forward.required if forward else frozenset()
        return GraphIR(
            inputs=tuple(name for name in names if name in required),
            outputs=(),
            return_kind="block",
            input_specs=tuple(InputIR(name, name in required) for name in names),
            open_inputs=forward is None or forward.any_keyword or forward.any_positional,
            block=spec,
            path=spec.path,
            location=spec.location,
        )
