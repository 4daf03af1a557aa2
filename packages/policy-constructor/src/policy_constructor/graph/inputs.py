"""The inputs of a section: their names, and the shapes and dtypes a file may declare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_constructor.graph.ir import InputIR
from policy_constructor.graph.reporting import describe
from policy_constructor.spelling import nearest

if TYPE_CHECKING:
    from policy_constructor.config.node import Node, Path
    from policy_constructor.graph.reporting import Reporter

__all__ = ["DTYPES", "read_inputs"]

DTYPES = (
    *("float32", "float64", "float16", "bfloat16"),
    *("int64", "int32", "int16", "int8", "uint8", "bool"),
)


def read_inputs(node: Node, path: Path, report: Reporter) -> list[tuple[InputIR, Path]] | None:
    """Read a list of names, or a mapping from name to shape.

    Returns:
        The inputs that could be read, each with the path of its name; None for neither form.
    """
    if isinstance(node.value, dict):
        return [
            (_read_shape(name, shape, (*path, name), report), (*path, name))
            for name, shape in node.value.items()
        ]
    items = report.expect_list(node, path, "'inputs'")
    if items is None:
        return None
    found: list[tuple[InputIR, Path]] = []
    for index, item in enumerate(items):
        if isinstance(item.value, str):
            found.append((InputIR(item.value), (*path, index)))
        elif not item.poisoned:
            message = f"an input is a name, found {describe(item.value)}"
            report.error((*path, index), message, code="wrong-type")
    return found


def _read_shape(name: str, node: Node, path: Path, report: Reporter) -> InputIR:
    """Read `null`, `[null, 39]` or `{shape: [B, 16], dtype: int64}`."""
    dtype: object = DTYPES[0]
    shape: Node | None = node
    if isinstance(node.value, dict):
        report.expect_keys(node.value, path, ("shape", "dtype"), "an input")
        shape = node.value.get("shape")
        dtype = node.value["dtype"].value if "dtype" in node.value else dtype
        if dtype not in DTYPES:
            near = nearest(str(dtype), DTYPES)
            message = f"unknown dtype {describe(dtype)}"
            report.error((*path, "dtype"), message, code="wrong-type", suggestions=near)
            return InputIR(name)
    if shape is None or shape.value is None:
        return InputIR(name, dtype=str(dtype))
    sizes = [item.value for item in shape.value] if isinstance(shape.value, list) else None
    if sizes is None or not all(_is_size(size) for size in sizes):
        message = f"the shape of input {name!r} must be a list of sizes"
        expected = "positive whole numbers, or null or a name for a size that varies"
        report.error(path, message, code="wrong-type", expected=expected)
        return InputIR(name)
    return InputIR(name, shape=tuple(sizes), dtype=str(dtype))


def _is_size(size: object) -> bool:
    if isinstance(size, bool):
        return False
    return size is None or isinstance(size, str) or (isinstance(size, int) and size > 0)
