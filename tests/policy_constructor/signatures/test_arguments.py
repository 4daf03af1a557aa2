from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from policy_constructor.config.node import Node, Path, dotted
from policy_constructor.errors import Problem, render_problem
from policy_constructor.signatures.arguments import NestedSpec
from policy_constructor.signatures.parameters import Signature
from policy_constructor.signatures.signature import check_arguments, read_signature

if TYPE_CHECKING:
    from pathlib import Path as FilePath


def to_node(value: Any) -> Node:
    """Return a tree of nodes for plain data; a Node stands for itself."""
    if isinstance(value, Node):
        return value
    if isinstance(value, dict):
        return Node({key: to_node(child) for key, child in value.items()})
    if isinstance(value, list):
        return Node([to_node(child) for child in value])
    return Node(value)


class Problems:
    """Collects problems as lines of text."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.codes: list[str] = []

    def __call__(self, path: Path, message: str, /, **details: Any) -> None:
        details.pop("on", None)
        problem = Problem(message, dotted(path), **details)
        self.lines.append(render_problem(problem).removeprefix("error: "))
        self.codes.append(problem.code)


def problems_of(target: str, spec: dict[str, Any], **options: Any) -> list[str]:
    report = Problems()
    signature = read_signature(target)
    assert signature is not None
    owner = target.rpartition(":")[2]
    check_arguments(signature, to_node(spec), ("x",), owner=owner, report=report, **options)
    return report.lines


OPTIMIZER = {"supplied": frozenset({"params"})}
SCHEDULER = {"supplied": frozenset({"optimizer"})}
RIGHT = [
    ("torch.nn:Linear", {"in_features": 2, "out_features": 3}, {}),
    ("torch.nn:Linear", {"_args_": [2, 3], "bias": False}, {}),
    ("torch.nn:Linear", {"_args_": [2], "_kwargs_": {"out_features": 3}}, {}),
    ("torch.nn:Linear", {"in_features": 2, "out_features": 3, "device": "cpu"}, {}),
    ("torch.nn:Conv2d", {"_args_": [3, 8, 3], "stride": [1, 2], "padding": "same"}, {}),
    ("torch.nn:Conv2d", {"_args_": [3, 8, [3, 3]], "padding_mode": "reflect"}, {}),
    ("torch.nn:LSTM", {"input_size": 3, "hidden_size": 4, "dropout": 1, "proj_size": 2}, {}),
    ("torch.nn:CrossEntropyLoss", {"weight": {"_type_": "weights"}}, {}),
    ("torch.nn:CrossEntropyLoss", {"weight": None}, {}),
    ("torch.nn:Sequential", {"_args_": [{"_type_": "nn.ReLU"}, {"_type_": "nn.Tanh"}]}, {}),
    ("torch.optim:AdamW", {"lr": 1e-3, "betas": [0.9, 0.95], "foreach": None}, OPTIMIZER),
    ("torch.optim:AdamW", {"lr": 1, "weight_decay": float("inf")}, OPTIMIZER),
    ("torch.optim.lr_scheduler:CosineAnnealingLR", {"T_max": 100, "eta_min": 0}, SCHEDULER),
]


@pytest.mark.parametrize(("target", "spec", "options"), RIGHT)
def test_right_arguments_pass(target: str, spec: dict[str, Any], options: dict[str, Any]) -> None:
    assert problems_of(target, spec, **options) == []


LINEAR = {"in_features": 2, "out_features": 3}
WRONG = [
    (
        "torch.nn:Linear",
        {"in_features": 2},
        ["x: Linear needs 'out_features' (int)"],
    ),
    (
        "torch.nn:Linear",
        {"in_features": 2, "out_feature": 3},
        [("x.out_feature: Linear has no parameter 'out_feature'; did you mean 'out_features'?")],
    ),
    (
        "torch.nn:Linear",
        {**LINEAR, "activation": "relu"},
        ["x.activation: Linear has no parameter 'activation'"],
    ),
    (
        "torch.nn:Linear",
        {"in_features": "wide", "out_features": 3.0, "bias": 1},
        [
            "x.in_features: expected an integer, found 'wide'",
            "x.out_features: expected an integer, found 3.0",
            "x.bias: expected true or false, found 1",
        ],
    ),
    ("torch.nn:Linear", {**LINEAR, "bias": None}, ["x.bias: expected true or false, found null"]),
    (
        "torch.nn:Linear",
        {**LINEAR, "in_features": True},
        ["x.in_features: expected an integer, found true"],
    ),
    (
        "torch.nn:Linear",
        {**LINEAR, "in_features": [2]},
        ["x.in_features: expected an integer, found [2]"],
    ),
    (
        "torch.nn:Linear",
        {**LINEAR, "in_features": {"_type_": "mlp"}},
        ["x.in_features: expected an integer, found the component 'mlp'"],
    ),
    (
        "torch.nn:Linear",
        {**LINEAR, "in_features": {"a": 1}},
        ["x.in_features: expected an integer, found a mapping"],
    ),
    (
        "torch.nn:Linear",
        {"_args_": [2, 3, True, "cpu", None, 7]},
        ["x._args_.5: Linear takes at most 5 positional arguments, found 6"],
    ),
    (
        "torch.nn:Linear",
        {"_args_": [2, 3], "in_features": 4},
        ["x.in_features: 'in_features' is set twice: here and as positional argument"],
    ),
    (
        "torch.nn:Linear",
        {**LINEAR, "_kwargs_": {"in_features": 4}},
        ["x._kwargs_.in_features: 'in_features' is set twice: here and beside '_kwargs_'"],
    ),
    ("torch.nn:Linear", {**LINEAR, "_args_": 3}, ["x._args_: '_args_' must be a list of values"]),
    (
        "torch.nn:Linear",
        {**LINEAR, "_kwargs_": [3]},
        ["x._kwargs_: '_kwargs_' must be a mapping of parameters"],
    ),
    (
        "torch.nn:Conv2d",
        {"_args_": [3, 8, [3, "x"]]},
        ["x._args_.2.1: expected an integer, found 'x'"],
    ),
    (
        "torch.nn:Conv2d",
        {"_args_": [3, 8, [3, 3, 3]]},
        ["x._args_.2: expected an integer or a list of 2 integers, found [3, 3, 3]"],
    ),
    (
        "torch.nn:Conv2d",
        {"_args_": [3, 8, 3], "padding_mode": "zero"},
        [
            (
                "x.padding_mode: expected one of 'zeros', 'reflect', 'replicate', 'circular',"
                " found 'zero'; did you mean 'zeros'?"
            )
        ],
    ),
    ("torch.nn:LSTM", {"input_size": 3}, ["x: LSTM needs 'hidden_size' (int)"]),
    ("torch.nn:Tanh", {"inplace": True}, ["x.inplace: Tanh has no parameter 'inplace'"]),
    (
        "torch.nn:CrossEntropyLoss",
        {"weight": [1.0, 2.0]},
        ["x.weight: expected a component or null, found [1.0, 2.0]"],
    ),
]


@pytest.mark.parametrize(("target", "spec", "expected"), WRONG)
def test_wrong_arguments_are_named(target: str, spec: dict[str, Any], expected: list[str]) -> None:
    assert problems_of(target, spec) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"lr": "1e-3"}, ["x.lr: expected a number, found '1e-3'"]),
        ({"lr": float("nan")}, ["x.lr: expected a number, found .nan"]),
        ({"betas": [0.9]}, ["x.betas: expected a list of 2 values, found [0.9]"]),
        ({"betas": [0.9, "a"]}, ["x.betas.1: expected a number, found 'a'"]),
        ({"foreach": 1}, ["x.foreach: expected true or false or null, found 1"]),
        (
            {"params": []},
            ["x.params: AdamW gets 'params' from the framework; a file cannot set it"],
        ),
        ({"learning_rate": 1}, ["x.learning_rate: AdamW has no parameter 'learning_rate'"]),
        (
            {"weight_decy": 1},
            ["x.weight_decy: AdamW has no parameter 'weight_decy'; did you mean 'weight_decay'?"],
        ),
        ({"_args_": ["x"]}, ["x._args_.0: expected a number, found 'x'"]),
    ],
)
def test_wrong_arguments_of_an_optimizer(spec: dict[str, Any], expected: list[str]) -> None:
    assert problems_of("torch.optim:AdamW", spec, **OPTIMIZER) == expected


def test_positional_only_parameter_cannot_be_named(import_path: FilePath) -> None:
    (import_path / "ops_only.py").write_text("def add(a, b, /): ...")
    assert problems_of("ops_only:add", {"_args_": [1], "b": 2}) == [
        "x.b: add takes 'b' by position only, under '_args_'"
    ]


def test_scheduler_needs_only_what_a_file_can_give() -> None:
    found = problems_of("torch.optim.lr_scheduler:CosineAnnealingLR", {}, **SCHEDULER)
    assert found == ["x: CosineAnnealingLR needs 'T_max' (int)"]


def test_codes_tell_the_kinds_of_mistakes() -> None:
    report = Problems()
    spec = to_node({"in_feature": 1, "bias": 3, "device": "cpu", "colour": 1})
    signature = read_signature("torch.nn:Linear")
    supplied = frozenset({"device"})
    check_arguments(signature, spec, (), owner="o", report=report, supplied=supplied)
    assert report.codes == [
        "unknown-key",
        "wrong-type",
        "supplied-key",
        "unknown-key",
        "missing-key",
    ]


def test_skipped_keys_are_no_parameters() -> None:
    spec = {**LINEAR, "_type_": "nn.Linear", "every": 5}
    assert problems_of("torch.nn:Linear", spec, skip=frozenset({"_type_", "every"})) == []


def test_poisoned_values_are_accepted_in_silence() -> None:
    poisoned = Node(None, poisoned=True)
    assert problems_of("torch.nn:Linear", {**LINEAR, "bias": poisoned}) == []
    assert problems_of("torch.nn:Linear", {"_kwargs_": poisoned}) == []
    assert problems_of("torch.nn:Linear", {"_args_": poisoned}) == []
    assert problems_of("torch.nn:Conv2d", {"_args_": [3, 8, [3, poisoned]]}) == []


def test_values_may_be_left_unchecked() -> None:
    def is_reference(node: Node) -> bool:
        return str(node.value).startswith("$")

    spec = {"in_features": "$x", "out_features": "y"}
    found = problems_of("torch.nn:Linear", spec, unchecked=is_reference)
    assert found == ["x.out_features: expected an integer, found 'y'"]


def test_nested_components_are_returned_with_their_places() -> None:
    relu, tanh = to_node({"_type_": "nn.ReLU"}), to_node({"_type_": "nn.Tanh"})
    inner = to_node({"_type_": "a", "b": {"_type_": "c"}})
    spec = to_node({"_args_": [relu], "named": {"x": [tanh, 3]}, "_kwargs_": {"k": inner}})
    found = check_arguments(None, spec, ("m",), owner="x", report=Problems())
    assert found == [
        NestedSpec(("m", "_args_", 0), relu, Any),
        NestedSpec(("m", "named", "x", 0), tanh, Any),
        NestedSpec(("m", "_kwargs_", "k"), inner, Any),
    ]


def test_nested_component_carries_the_annotation_of_its_parameter() -> None:
    spec = to_node({"weight": {"_type_": "weights"}})
    signature = read_signature("torch.nn:CrossEntropyLoss")
    found = check_arguments(signature, spec, (), owner="x", report=Problems())
    assert signature is not None
    assert found[0].annotation is signature.parameters["weight"].annotation


def test_open_ended_constructor_takes_unknown_names() -> None:
    report = Problems()
    signature = Signature(accepts_any_keyword=True, accepts_any_positional=True)
    check_arguments(signature, to_node({"a": 1, "_args_": [1]}), (), owner="x", report=report)
    assert report.lines == []


def test_broken_params_model_is_reported_at_the_component() -> None:
    report = Problems()
    signature = Signature(accepts_any_keyword=True, problem="its parameter model cannot be used")
    check_arguments(signature, to_node({"a": 1}), ("x",), owner="loss.kot", report=report)
    assert report.lines == ["x: loss.kot: its parameter model cannot be used"]
    assert report.codes == ["params-model"]


def test_bounds_of_a_params_model_are_checked(import_path: FilePath) -> None:
    (import_path / "bounded.py").write_text(
        "from typing import Annotated\nfrom annotated_types import Gt\nfrom pydantic import Field\n"
        "class Kot:\n"
        "    def __init__(self, iters: Annotated[int, Field(ge=1, le=99)] = 1,\n"
        "        eps: Annotated[float, Gt(0)] = 0.1,\n"
        "        name: Annotated[str, Field(pattern='^a')] = 'a'): ..."
    )
    found = problems_of("bounded:Kot", {"iters": 0, "eps": -1, "name": "b"})
    assert found == [
        "x.iters: expected an integer >= 1 and <= 99, found 0",
        "x.eps: expected a number > 0, found -1",
        "x.name: expected a string that matches ^a, found 'b'",
    ]
    assert problems_of("bounded:Kot", {"iters": "a"}) == [
        "x.iters: expected an integer >= 1 and <= 99, found 'a'"
    ]
    assert problems_of("bounded:Kot", {"iters": 5, "eps": 1, "name": "abc"}) == []


def test_validators_of_a_params_model_are_asked(import_path: FilePath) -> None:
    (import_path / "pair_params.py").write_text(
        "from pydantic import BaseModel, model_validator\nclass Model(BaseModel):\n"
        "    low: int = 0\n    high: int\n    @model_validator(mode='after')\n"
        "    def ordered(self):\n        if self.low >= self.high:\n"
        "            raise ValueError('low must be below high')\n        return self\n"
    )
    (import_path / "pair.py").write_text("class Kot:\n    Params = 'pair_params:Model'")
    assert problems_of("pair:Kot", {"low": 3, "high": 2}) == ["x: Kot: low must be below high"]
    assert problems_of("pair:Kot", {"low": 1, "high": 2}) == []
    assert problems_of("pair:Kot", {"low": "a", "hig": 2}) == [
        "x.low: expected an integer, found 'a'",
        "x.hig: Kot has no parameter 'hig'; did you mean 'high'?",
    ]


def test_default_that_contradicts_its_annotation_may_be_written(import_path: FilePath) -> None:
    (import_path / "sloppy.py").write_text(
        "nan = float('nan')\ndef kot(a: int = None, fill: float = nan): ..."
    )
    assert problems_of("sloppy:kot", {"a": None, "fill": float("nan")}) == []


def test_enum_and_path_take_strings(import_path: FilePath) -> None:
    (import_path / "choosy.py").write_text(
        "from enum import Enum\nfrom pathlib import Path\nclass Mode(Enum):\n    A = 'fast'\n"
        "    B = 'slow'\ndef kot(mode: Mode, root: Path): ..."
    )
    assert problems_of("choosy:kot", {"mode": "fast", "root": "data"}) == []
    assert problems_of("choosy:kot", {"mode": "fst", "root": 3}) == [
        "x.mode: expected one of 'fast', 'slow', found 'fst'; did you mean 'fast'?",
        "x.root: expected a path, found 3",
    ]
