"""Every mistake of a model section is refused at its place, and a right one compiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from policy_constructor.config import resolve_config
from policy_constructor.errors import ConfigError
from policy_constructor.graph.compiler import compile_graph
from policy_constructor.graph.ir import Ref

if TYPE_CHECKING:
    from pathlib import Path

GRAPH = """\
model:
  graph:
    inputs: [x]
    modules:
      stem: {_type_: nn.Linear, in_features: 4, out_features: 4}
    nodes:
      - {name: h, call: "module:stem", args: [$x]}
      - {name: y, call: "op:add", args: [$h, $x]}
    outputs: [$y]
"""

MAPPING = """\
model:
  graph:
    inputs: [x]
    modules:
      stem: {_type_: nn.Linear, in_features: 4, out_features: 4}
    nodes:
      h: {call: "module:stem", args: [$x]}
      y: {call: "op:add", args: [$h, $x]}
    order: [h, y]
    outputs: [$y]
"""

LETTERS = " must begin with a letter and hold only letters, digits and underscores"


def problems_of(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "model.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        compile_graph(file)
    return [
        f"{problem.location.line if problem.location else 0}:"
        f"{problem.location.column if problem.location else 0} {problem.message}"
        for problem in caught.value.problems
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[$h, $x]", "[$hh, $x]", ["8:42 unknown reference '$hh'"]),
        ("args: [$x]", "args: [$y]", ["7:47 Forward reference to '$y': it is computed later"]),
        (
            "args: [$x]",
            "args: [$h]",
            ["7:47 Forward reference to '$h': a call cannot use its own result"],
        ),
        (
            "name: y",
            "name: x",
            [
                "8:16 name 'x' is taken: it is an input already",
                "9:15 output '$y' is no value of the graph",
            ],
        ),
        (
            "name: y",
            "name: stem",
            [
                "8:16 name 'stem' is taken: it is a module already",
                "9:15 output '$y' is no value of the graph",
            ],
        ),
        (
            "name: y",
            "name: h",
            [
                "8:16 name 'h' is taken: it is a value of node 'h' already",
                "9:15 output '$y' is no value of the graph",
            ],
        ),
        ("inputs: [x]", "inputs: [x, x]", ["3:17 name 'x' is taken: it is an input already"]),
        (
            "stem: {",
            "x: {",
            ["5:7 name 'x' is taken: it is an input already", "7:25 unknown module 'stem'"],
        ),
        ("[$y]", "[$z]", ["9:15 output '$z' is no value of the graph"]),
        ("[$y]", "[y]", ["9:15 an output is a reference, found 'y'"]),
        ("[$y]", "[]", ["9:14 'outputs' must list what the model returns"]),
        ("module:stem", "module:stm", ["7:25 unknown module 'stm'"]),
        ("op:add", "op:adds", ["8:25 unknown op 'adds'"]),
        ("op:add", "add", ["8:25 'call' must say what is called, found 'add'"]),
        ("nn.Linear", "nn.Linaer", ["5:22 unknown block 'nn.Linaer'"]),
        ("in_features", "in_feature", ["5:33 nn.Linear has no parameter 'in_feature'"]),
        ("in_features: 4", "in_features: four", ["5:46 expected an integer, found 'four'"]),
        (", out_features: 4", "", ["5:13 nn.Linear needs 'out_features' (int)"]),
        (
            "args: [$x]",
            "args: [$x, $x]",
            ["7:51 'stem' (nn.Linear) takes 1 argument by position, found 2"],
        ),
        ("args: [$x]", "kwargs: {inptu: $x}", ["7:49 'stem' (nn.Linear) has no argument 'inptu'"]),
        ("args: [$h, $x]", "args: [$h]", ["8:9 op 'add' needs 'b'"]),
        (
            "args: [$x]",
            "kwargs: {a b: $x}",
            [f"7:49 keyword name 'a b'{LETTERS}"],
        ),
        (
            "args: [$h, $x]",
            "args: [$h, $1]",
            ["8:46 '$1' is no reference; write $name, or $$ for a dollar sign"],
        ),
        (
            "stem: {",
            "forward: {",
            [
                "5:7 module name 'forward' is an attribute of every torch module",
                "7:25 unknown module 'stem'",
            ],
        ),
        ("inputs: [x]", "inputs: [x, class]", ["3:17 input name 'class' is a Python keyword"]),
        (
            "inputs: [x]",
            "inputs: [x, self]",
            ["3:17 input name 'self' has a meaning of its own in generated code"],
        ),
        (
            "inputs: [x]",
            "inputs: [x, '__']",
            [f"3:17 input name '__'{LETTERS}"],
        ),
        (
            "outputs: [$y]",
            "outputs: [$y]\n    return: dict",
            ["10:13 'return: dict' needs outputs written as a mapping, {name: $value}"],
        ),
        (
            "outputs: [$y]",
            "outputs: {y: $y}\n    return: tuple",
            ["10:13 'return: tuple' needs outputs written as a list, [$value]"],
        ),
        (
            "outputs: [$y]",
            "outputs: [$y, $h]\n    return: single",
            ["10:13 'return: single' needs one output, found 2"],
        ),
        ("outputs: [$y]", "outputs: [$y]\n    return: lists", ["10:13 unknown return 'lists'"]),
        ("outputs: [$y]", "output: [$y]", ["9:5 a graph has no key 'output'"]),
        (
            "    outputs",
            "    order: [h, y]\n    outputs",
            ["9:5 'order' is for nodes written as a mapping; a list has its order"],
        ),
        (
            "nodes:",
            "steps:",
            [
                "7:10 a step has no key 'name'",
                "7:9 a step needs 'out', the name of its result",
                "8:10 a step has no key 'name'",
                "8:9 a step needs 'out', the name of its result",
            ],
        ),
        ("model:", "modle:", ["1:1 a model file has no key 'modle'"]),
        ("graph:", "grahp:", ["2:3 a model section has no key 'grahp'"]),
    ],
)
def test_mistake_is_refused_at_its_place(
    tmp_path: Path, old: str, new: str, expected: list[str]
) -> None:
    assert old in GRAPH
    assert sorted(problems_of(tmp_path, GRAPH.replace(old, new, 1))) == sorted(expected)


def test_nodes_as_mapping_need_their_order(tmp_path: Path) -> None:
    text = MAPPING.replace("    order: [h, y]\n", "")
    assert problems_of(tmp_path, text) == [
        "6:5 nodes written as a mapping requires 'order: [...]' with all their names"
    ]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("[h]", ["9:12 'order' leaves out 'y'"]),
        ("[h, y, h]", ["9:19 'order' names 'h' twice"]),
        ("[h, z, y]", ["9:16 'order' names 'z', which is no node"]),
        ("[y, h]", ["8:34 Forward reference to '$h': it is computed later"]),
        ("h", ["9:12 'order' must be a list, found 'h'"]),
    ],
)
def test_order_that_does_not_match_is_refused(
    tmp_path: Path, order: str, expected: list[str]
) -> None:
    assert problems_of(tmp_path, MAPPING.replace("[h, y]", order)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{layers: []}", "2:24 'layers' is empty"),
        (
            "{layers: [{_type_: mlp, dims: [2, 3]}], input: [x]}",
            "2:55 a sequential model has no key 'input'",
        ),
        (
            "{inputs: [a, b], layers: [{_type_: mlp, dims: [2, 3]}]}",
            "2:24 a sequential model has one input, found 2",
        ),
        ("{inputs: [a]}", "2:3 a sequential model needs 'layers'"),
        ("{layers: [3]}", "2:25 a model section must be a mapping, found 3"),
        (
            "{layers: [{_type_: mlp, dims: [2, wide]}]}",
            "2:49 expected an integer or null, found 'wide'",
        ),
    ],
)
def test_sequential_mistake_is_refused_at_its_place(
    tmp_path: Path, body: str, expected: str
) -> None:
    assert problems_of(tmp_path, f"model:\n  sequential: {body}\n") == [expected]


def test_all_problems_come_at_once_in_file_order(tmp_path: Path) -> None:
    text = GRAPH.replace("nn.Linear", "nn.Linaer").replace("op:add", "op:ad").replace("$y", "$w")
    assert problems_of(tmp_path, text) == [
        "5:22 unknown block 'nn.Linaer'",
        "8:25 unknown op 'ad'",
        "9:15 output '$w' is no value of the graph",
    ]


def test_misspelt_names_come_with_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(GRAPH.replace("module:stem", "module:stm").replace("op:add", "op:ad"))
    with pytest.raises(ConfigError) as caught:
        compile_graph(file)
    assert [problem.suggestions for problem in caught.value.problems] == [("stem",), ("add",)]


def test_module_that_nothing_calls_is_an_error(tmp_path: Path) -> None:
    text = GRAPH.replace("    nodes:", "      spare: {_type_: nn.ReLU}\n    nodes:")
    assert problems_of(tmp_path, text) == [
        "6:7 module 'spare' is never called; its parameters would never train"
    ]


def test_value_that_nothing_uses_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(GRAPH.replace("inputs: [x]", "inputs: [x, t]").replace("[$y]", "[$h]"))
    warnings = [problem.message for problem in compile_graph(file).warnings]
    assert warnings == ["input 't' is never used", "nothing uses node 'y'"]


def test_problem_inside_a_nested_section_is_located(tmp_path: Path) -> None:
    nested = "stem: {sequential: {layers: [{_type_: nn.Linear, out_features: 4}]}}"
    old = "stem: {_type_: nn.Linear, in_features: 4, out_features: 4}"
    assert problems_of(tmp_path, GRAPH.replace(old, nested)) == [
        "5:36 nn.Linear needs 'in_features' (int)"
    ]


def test_without_strict_problems_join_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(GRAPH.replace("op:add", "op:ad"))
    resolved = resolve_config(file)
    assert compile_graph(resolved, strict=False) is None
    assert [problem.message for problem in resolved.problems] == ["unknown op 'ad'"]


def test_section_of_an_experiment_keeps_foreign_keys() -> None:
    spec = {"_type_": "mlp", "dims": [2, 3], "freeze": True}
    resolved = resolve_config({"run": {"name": "a"}, "models": {"net": spec}})
    ir = compile_graph(resolved, section=("models", "net"), skip=frozenset({"freeze"}))
    assert (ir.inputs, ir.return_kind, ir.block and ir.block.kwargs) == (
        ("x",),
        "block",
        {"dims": [2, 3]},
    )


def test_references_are_found_inside_lists_and_mappings() -> None:
    ir = compile_graph(graph_of({"call": "op:cat", "args": [["$x", "$x"]], "kwargs": {"dim": -1}}))
    assert ir.steps[0].args == ([Ref("x"), Ref("x")],)


def test_doubled_dollar_is_a_dollar_sign() -> None:
    ir = compile_graph(graph_of({"call": "op:getitem", "args": ["$x", "$$x"]}))
    assert ir.steps[0].args == (Ref("x"), "$x")


@pytest.mark.parametrize(
    ("outputs", "declared", "kind", "names"),
    [
        (["$y"], None, "single", ("y",)),
        (["$y", "$x"], None, "tuple", ("y", "x")),
        (["$y"], "tuple", "tuple", ("y",)),
        ({"a": "$y"}, None, "dict", ("a",)),
    ],
)
def test_return_kind_follows_the_outputs(
    outputs: Any, declared: str | None, kind: str, names: tuple[str, ...]
) -> None:
    spec = graph_of({"call": "op:identity", "args": ["$x"]})
    spec["model"]["graph"].update(outputs=outputs, **({"return": declared} if declared else {}))
    ir = compile_graph(spec)
    assert (ir.return_kind, ir.outputs) == (kind, names)


def test_inputs_may_declare_shapes_and_dtypes() -> None:
    spec = graph_of({"call": "op:identity", "args": ["$x"]})
    spec["model"]["graph"]["inputs"] = {"x": {"shape": [None, "T", 3], "dtype": "int64"}}
    (declared,) = compile_graph(spec).input_specs
    assert (declared.shape, declared.dtype) == ((None, "T", 3), "int64")


def test_optional_inputs_of_a_block_are_not_required() -> None:
    spec = {"_type_": "transformer_decoder", "d_model": 8, "nhead": 2, "num_layers": 1}
    ir = compile_graph({"model": spec})
    assert ir.inputs == ("x",)
    assert [item.name for item in ir.input_specs][:3] == ["x", "memory", "cache"]


def graph_of(call: dict[str, Any]) -> dict[str, Any]:
    step = {**call, "out": "y"}
    return {"model": {"graph": {"inputs": ["x"], "steps": [step], "outputs": ["$y"]}}}
