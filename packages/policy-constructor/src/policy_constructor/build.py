"""The one call a user makes: file or mapping -> resolve -> compile -> `nn.Module`."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from policy_constructor.config import ResolvedConfig, resolve_config
from policy_constructor.discovery.registry import blocks_registry, ops_registry
from policy_constructor.graph.compiler import compile_graph
from policy_constructor.instantiate import instantiate_graph
from policy_constructor.lazy import materialize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path as FilePath

    from torch import nn

    from policy_constructor.config.node import Path
    from policy_constructor.discovery.registry import Registry
    from policy_constructor.graph.ir import GraphIR

__all__ = ["build_model", "from_ir"]


def build_model(
    source: str | FilePath | Mapping[str, Any] | ResolvedConfig,
    overrides: Sequence[str] = (),
    *,
    section: Path = ("model",),
    blocks: Registry[Any] | None = None,
    ops: Registry[Any] | None = None,
    sample: Any = None,
    device: torch.device | str | None = None,
) -> nn.Module:
    """Build the model that a file or mapping describes.

    Args:
        source: A model file, a mapping like one, or what `resolve_config` made of them.
        overrides: `a.b=c` changes to a file or mapping.
        section: Path of the model section.
        blocks: Blocks to choose from; the installed ones by default.
        ops: Ops to choose from; the installed ones by default.
        sample: An example input, used to find the sizes that lazy modules leave open: a tensor, a
            tuple of the inputs in order, or a mapping by name. Not needed where the file declares
            the inputs' shapes.
        device: Where the model is put; `meta` builds it without memory.

    Returns:
        A `GraphModel`, or the block itself for a section that is one block. Lazy modules whose
        sizes nothing tells stay lazy until the first call; see `require_materialized`.

    Raises:
        ConfigError: Every mistake of the file at once, with its place.
    """
    resolved = source
    if not isinstance(resolved, ResolvedConfig):
        resolved = resolve_config(resolved, overrides, strict=False)
    elif overrides:
        msg = "overrides belong to resolve_config; this source is resolved already"
        raise ValueError(msg)
    ir = compile_graph(
        resolved,
        section=section,
        blocks=blocks,
        ops=ops,
        whole_file=not isinstance(source, ResolvedConfig),
    )
    return from_ir(ir, blocks=blocks, ops=ops, sample=sample, device=device)


def from_ir(
    ir: GraphIR,
    *,
    blocks: Registry[Any] | None = None,
    ops: Registry[Any] | None = None,
    sample: Any = None,
    device: torch.device | str | None = None,
) -> nn.Module:
    """Build the model of a compiled section; arguments as in `build_model`.

    Raises:
        ConfigError: A block refused its arguments, or the sample or the declared shapes do not
            fit the model.
    """
    on_meta = device is not None and torch.device(device).type == "meta"
    with torch.device("meta") if on_meta else nullcontext():
        model = instantiate_graph(
            ir,
            blocks_registry() if blocks is None else blocks,
            ops_registry() if ops is None else ops,
        )
    materialize(model, ir, sample)
    return model if device is None or on_meta else model.to(device)
