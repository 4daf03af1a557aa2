"""The generated module equals the graph it stands for, and behaves like any torch module."""

from __future__ import annotations

import copy
import operator
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from policy_constructor.build import build_model
from policy_constructor.errors import ConfigError
from policy_constructor.graph.names import MODULE_ATTRIBUTES
from policy_constructor.graph_module import GraphModel, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

OPS = {"add": operator.add, "sub": operator.sub, "mul": operator.mul}


def model_of(**graph: Any) -> GraphModel:
    model = build_model({"model": {"graph": graph}})
    assert isinstance(model, GraphModel)
    return model


@pytest.fixture
def model() -> GraphModel:
    """A graph with a nested section, a shared module and outputs by name."""
    layers = [{"_type_": "mlp", "dims": [4, 8, 4]}, {"_type_": "nn.LayerNorm", "_args_": [4]}]
    return model_of(
        inputs=["x", "t"],
        modules={
            "stem": {"_type_": "nn.Linear", "in_features": 4, "out_features": 4},
            "body": {"sequential": {"layers": layers}},
        },
        steps=[
            {"call": "module:stem", "args": ["$x"], "out": "a"},
            {"call": "module:body", "kwargs": {"x": "$a"}, "out": "b"},
            {"call": "module:stem", "args": ["$t"], "out": "c"},
            {"call": "op:stack", "args": [["$b", "$c"]], "kwargs": {"dim": 1}, "out": "both"},
        ],
        outputs={"tokens": "$both", "last": "$c"},
    )


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(3, 4), torch.randn(3, 4)


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_state_dict_names_are_those_of_the_file(model: GraphModel) -> None:
    assert list(model.state_dict())[:4] == [
        "stem.weight",
        "stem.bias",
        "body.layer0.layers.0.weight",
        "body.layer0.layers.0.bias",
    ]


def test_forward_is_straight_line_code(model: GraphModel) -> None:
    lines = [line.split(";")[0].strip() for line in model.code.strip().splitlines()]
    assert lines == [
        "def forward(self, x, t):",
        "a = self.stem(x)",
        "b = self.body(x = a)",
        "c = self.stem(t)",
        "both = torch.stack([b, c], dim = 1)",
        "return {'tokens': both, 'last': c}",
    ]


def test_shared_module_has_one_set_of_weights(
    model: GraphModel, inputs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    x, _ = inputs
    out = model(x, x)
    assert torch.equal(out["last"], model.get_submodule("stem")(x))
    assert len(list(model.parameters())) == 8


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["deepcopy", "pickle"],
)
def test_copy_computes_the_same_on_its_own(
    model: GraphModel,
    inputs: tuple[torch.Tensor, torch.Tensor],
    copied: Callable[[GraphModel], GraphModel],
) -> None:
    clone = copied(model.eval())
    expected = model(*inputs)
    assert_same(clone(*inputs), expected)
    assert (clone.training, clone.ir, clone.code) == (False, model.ir, model.code)
    with torch.no_grad():
        clone.get_parameter("stem.weight").zero_()
    assert_same(model(*inputs), expected)


def test_deepcopy_keeps_hooks(model: GraphModel, inputs: tuple[Any, Any]) -> None:
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    copy.deepcopy(model)(*inputs)
    assert len(calls) == 1


def test_edited_graph_survives_pickling() -> None:
    model = model_of(
        inputs=["x"], steps=[{"call": "op:add", "args": ["$x", 1], "out": "y"}], outputs=["$y"]
    )
    for node in model.graph.nodes:
        if node.op == "call_function":
            node.target = operator.mul
    model.recompile()
    assert pickle.loads(pickle.dumps(model))(torch.tensor(5.0)) == 5.0


def test_state_dict_round_trip(model: GraphModel, inputs: tuple[Any, Any]) -> None:
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    other.load_state_dict(model.state_dict())
    assert_same(other(*inputs), model(*inputs))


@pytest.mark.filterwarnings("default")  # torch's own
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_as_one_graph(model: GraphModel, inputs: tuple[Any, Any], backend: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    for name, value in compiled(*inputs).items():
        torch.testing.assert_close(value, model(*inputs)[name])


@pytest.mark.filterwarnings("default")  # torch's own
def test_exports(model: GraphModel, inputs: tuple[Any, Any]) -> None:
    exported = torch.export.export(model, inputs)
    assert "stem.weight" in exported.state_dict
    assert_same(exported.module()(*inputs), model(*inputs))


def test_list_out_names_the_elements_of_a_tuple() -> None:
    model = model_of(
        inputs=["x"],
        modules={"rnn": {"_type_": "nn.GRU", "_args_": [3, 5], "batch_first": True}},
        nodes=[{"name": "step", "call": "module:rnn", "args": ["$x"], "out": ["y", "h"]}],
        outputs=["$h", "$y"],
    )
    x = torch.randn(2, 7, 3)
    expected_y, expected_h = model.get_submodule("rnn")(x)
    hidden, out = model(x)
    assert torch.equal(hidden, expected_h)
    assert torch.equal(out, expected_y)


def test_mapping_out_picks_keys_of_a_mapping() -> None:
    inner = {
        "graph": {
            "inputs": ["x"],
            "steps": [{"call": "op:mul", "args": ["$x", 2], "out": "y"}],
            "outputs": {"double": "$y", "same": "$x"},
        }
    }
    model = model_of(
        inputs=["x"],
        modules={"inner": inner},
        steps=[{"call": "module:inner", "args": ["$x"], "out": {"double": "d", "same": "s"}}],
        outputs=["$d", "$s"],
    )
    assert model(torch.tensor(3.0)) == (torch.tensor(6.0), torch.tensor(3.0))


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (3, TypeError, "out: [a, b] needs a tuple, the call returned int"),
        ((1, 2, 3), ValueError, "out: [a, b] names 2 values, the call returned 3"),
    ],
)
def test_unpacking_checks_the_number_of_values(
    result: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        unpack(result, ("a", "b"))
    assert str(caught.value) == message


HOSTILE = [
    "'); __import__('os').system('false'); ('",
    '"""\nimport os\n"""',
    "{x}",
    "\\",
    "\n    raise SystemExit",
    "$",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_a_file_never_becomes_code(text: str) -> None:
    graph = {
        "inputs": ["x"],
        "steps": [
            {"call": "op:getitem", "args": ["$x", "$$" if text == "$" else text], "out": "y"}
        ],
        "outputs": {text: "$y"},
    }
    model = model_of(**graph)
    assert model({text: 1}) == {text: 1}


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("place", ["input", "out", "module", "keyword"])
def test_hostile_name_is_refused(text: str, place: str) -> None:
    call: dict[str, Any] = {"call": "op:identity", "args": ["$x"], "out": "y"}
    graph: dict[str, Any] = {"inputs": ["x"], "steps": [call], "outputs": ["$y"]}
    if place == "input":
        graph["inputs"] = ["x", text]
    elif place == "out":
        call["out"] = ["y", text]
    elif place == "module":
        graph["modules"] = {text: {"_type_": "nn.ReLU"}}
    else:
        call["kwargs"] = {text: 1}
    with pytest.raises(ConfigError, match="must begin with a letter"):
        model_of(**graph)


@pytest.mark.parametrize("name", ["input", "type", "device", "forward", "x_01", "match"])
@pytest.mark.parametrize("other", ["{}_1", "{}_value", "x_1"])
def test_names_of_builtins_are_safe_inputs(name: str, other: str) -> None:
    inputs = [name, other.format(name)]
    model = model_of(
        inputs=inputs,
        steps=[{"call": "op:sub", "args": [f"${item}" for item in inputs], "out": "y"}],
        outputs=["$y"],
    )
    assert model(**dict(zip(inputs, [5.0, 2.0], strict=True))) == 3.0


def test_every_public_attribute_of_a_model_is_reserved(model: GraphModel) -> None:
    own = {name for name in dir(model) if not name.startswith("_")} - {"stem", "body"}
    own -= {"smart_apply"}  # what transformers adds to torch.nn.Module, once imported
    assert own <= MODULE_ATTRIBUTES


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, Any], list[float]]:
    """Draw a graph of ops over its inputs and numbers, and a value for each input."""
    inputs = [f"x{index}" for index in range(draw(st.integers(1, 3)))]
    known = list(inputs)
    steps: list[dict[str, Any]] = []
    for index in range(draw(st.integers(1, 12))):
        operand = st.sampled_from([f"${name}" for name in known]) | st.integers(-3, 3)
        first, second = draw(st.sampled_from([f"${name}" for name in known])), draw(operand)
        args = [first, second] if draw(st.booleans()) else [second, first]
        op = draw(st.sampled_from(sorted(OPS)))
        steps.append({"call": f"op:{op}", "args": args, "out": f"v{index}"})
        known.append(f"v{index}")
    outputs = draw(st.lists(st.sampled_from(known), min_size=1, max_size=4))
    graph = {"inputs": inputs, "steps": steps, "outputs": [f"${name}" for name in outputs]}
    values = [float(draw(st.integers(-5, 5))) for _ in inputs]
    return {**graph, "return": "tuple"}, values


def evaluate(graph: dict[str, Any], values: list[float]) -> tuple[float, ...]:
    """Interpret a graph, as simply as can be."""
    known: dict[str, Any] = dict(zip(graph["inputs"], values, strict=True))

    def look_up(item: Any) -> Any:
        return known[item[1:]] if isinstance(item, str) else item

    for step in graph["steps"]:
        op = OPS[step["call"].removeprefix("op:")]
        known[step["out"]] = op(*(look_up(item) for item in step["args"]))
    return tuple(look_up(item) for item in graph["outputs"])


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_generated_code_equals_the_interpreted_graph(
    case: tuple[dict[str, Any], list[float]],
) -> None:
    graph, values = case
    tensors = [torch.tensor(value, dtype=torch.float64) for value in values]
    found = tuple(float(value) for value in model_of(**graph)(*tensors))
    assert found == pytest.approx(evaluate(graph, values))
