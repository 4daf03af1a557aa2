"""`trainer model show`: the parts of a model, their parameters and how they are connected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy_constructor.config import resolve_config
from policy_constructor.errors import ConfigError
from policy_constructor.graph.compiler import compile_graph
from trainer_core.cli.arguments import config_parser, parse_config_line
from trainer_core.cli.plugins_table import table
from trainer_core.discovery.plugins import discover
from trainer_core.discovery.recipes import find_config
from trainer_core.experiment.loading import load_experiment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy_constructor.graph.ir import GraphIR
    from trainer_core.discovery.plugins import Plugins

__all__ = ["main"]

_SHOWN = 3


def main(argv: list[str]) -> int:
    """Print each component of a model file or experiment; weights take no memory."""
    parser = config_parser("model show", "Show a model file, or the models of an experiment.")
    parser.add_argument("--mermaid", action="store_true", help="the graph as a Mermaid flow chart")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    options = parse_config_line(parser, argv)
    plugins = discover()
    components = list(_components(options.config, options.overrides, plugins))
    if options.mermaid:
        from trainer_core.cli.model_summary import to_mermaid

        print("\n\n".join(to_mermaid(ir) for _, ir, _ in components))
        return 0
    summaries = [_summary(name, ir, trained, plugins) for name, ir, trained in components]
    if options.json:
        import json

        print(json.dumps({"components": summaries}, indent=1))
    else:
        print("\n\n".join("\n".join(_lines(summary)) for summary in summaries))
    return 0


def _components(
    config: str, overrides: list[str], plugins: Plugins
) -> Iterator[tuple[str, GraphIR, bool]]:
    """Return name, graph and whether it is trained, of each component of a file.

    Raises:
        ConfigError: The file has mistakes; all of them.
    """
    path = find_config(config, plugins)
    resolved = resolve_config(
        path,
        overrides,
        find_recipe=plugins.find_recipe,
        recipe_names=plugins.recipe_names,
        strict=False,
    )
    if resolved.node("run") is not None or resolved.node("models") is not None:
        experiment = load_experiment(path, overrides, plugins=plugins)
        for plan in experiment.models.values():
            yield plan.name, plan.graph, plan.trainable
        return
    registries = plugins.registries
    ir = compile_graph(
        resolved, blocks=registries["block"], ops=registries["op"], strict=False, whole_file=True
    )
    if ir is None or resolved.problems:
        raise ConfigError(resolved.problems)
    yield "model", ir, True


def _summary(name: str, ir: GraphIR, trained: bool, plugins: Plugins) -> dict[str, Any]:
    from policy_constructor.build import from_ir
    from trainer_core.cli.model_summary import summarize

    blocks, ops = plugins.registries["block"], plugins.registries["op"]
    model = from_ir(ir, blocks=blocks, ops=ops, device="meta")
    return summarize(name, ir, model, trainable=trained)


def _lines(summary: dict[str, Any]) -> Iterator[str]:
    frozen = "" if summary["trainable"] else ", frozen"
    yield f"{summary['name']}: {_number(summary['parameters'])} parameters{frozen}"
    yield f"  takes    {', '.join(map(_input, summary['inputs']))}"
    yield f"  returns  {', '.join(summary['outputs']) or 'what the block returns'}"
    yield ""
    rows = [
        (module["name"], module["type"], _number(module["parameters"]), _shapes(module["shapes"]))
        for module in summary["modules"]
    ]
    yield from _indented(table(("module", "type", "parameters", "shapes"), rows))
    yield ""
    for call in summary["calls"]:
        results = ", ".join(call["results"])
        yield f"  {results}{' = ' if results else ''}{call['what']}({', '.join(call['values'])})"


def _indented(text: str) -> Iterator[str]:
    return (f"  {line}" for line in text.splitlines())


def _number(count: int | None) -> str:
    return "not yet known" if count is None else f"{count:,}"


def _input(spec: dict[str, Any]) -> str:
    shape = "" if spec["shape"] is None else f" {_shape(spec['shape'])}"
    return f"{spec['name']}{shape}{'' if spec['required'] else ' (optional)'}"


def _shapes(shapes: dict[str, list[int] | None]) -> str:
    shown = [f"{name} {_shape(shape)}" for name, shape in list(shapes.items())[:_SHOWN]]
    rest = len(shapes) - len(shown)
    return ", ".join(shown) + (f", and {rest} more" if rest else "")


def _shape(shape: list[Any] | None) -> str:
    """Return sizes as in a message: `[4, 8]`; `?` is a size that varies."""
    if shape is None:
        return "?"
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
