"""A damaged model file gives located problems, never a traceback."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from policy_constructor.errors import ConfigError
from policy_constructor.graph.compiler import compile_graph

BASE: dict[str, Any] = {
    "schema_version": 1,
    "settings": {"strict": True, "allow_target": True, "allowed_import_prefixes": ["torch.nn"]},
    "model": {
        "graph": {
            "inputs": {"x": [None, 4], "t": {"shape": ["B"], "dtype": "float32"}},
            "modules": {
                "stem": {"_type_": "mlp", "dims": [4, 8], "activation": {"_type_": "nn.GELU"}},
                "tail": {
                    "sequential": {"inputs": ["z"], "layers": [{"_target_": "torch.nn.ReLU"}]}
                },
                "rnn": {"_type_": "nn.GRU", "_args_": [8, 8], "_kwargs_": {"batch_first": True}},
            },
            "nodes": {
                "h": {"call": "module:stem", "args": ["$x"]},
                "r": {"call": "module:rnn", "kwargs": {"input": "$h"}, "out": ["y", "s"]},
                "k": {"call": "module:tail", "args": ["$y"], "out": {"0": "k0"}},
                "c": {"call": "op:cat", "args": [["$k0", "$s"]], "kwargs": {"dim": -1}},
            },
            "order": ["h", "r", "k", "c"],
            "outputs": {"a": "$c", "b": "$t"},
            "return": "dict",
        }
    },
}
VALUES: list[Any] = [
    *(None, 0, -1, 1.5, True, "", "$", "$$", "$x", "$nope", "module:stem", "op:add", "a b"),
    *([], [[]], {}, {"a": {}}, ["$x", {"_type_": "mlp"}], {"_type_": 3}, {"graph": {}}),
    *({"sequential": []}, {"_target_": "os.system"}, [None], {"shape": "x"}, "self", "class"),
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of everything inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = [path] if path else []
    if isinstance(value, (dict, list)):
        for key, child in items:
            found += (
                places(child, (*path, key)) if isinstance(child, (dict, list)) else [(*path, key)]
            )
    return found


def damaged(seed: int) -> dict[str, Any]:
    """Return the base file with one to three places replaced, removed or renamed."""
    choose = random.Random(seed)
    spec = copy.deepcopy(BASE)
    for _ in range(choose.randint(1, 3)):
        *parents, key = choose.choice(places(spec))
        holder: Any = spec
        for parent in parents:
            holder = holder[parent]
        change = choose.random()
        if change < 0.6:
            holder[key] = copy.deepcopy(choose.choice(VALUES))
        elif change < 0.8 or isinstance(holder, list):
            del holder[key]
        else:
            holder[f"{key}x"] = holder.pop(key)
    return spec


def test_undamaged_file_compiles() -> None:
    assert compile_graph(BASE).outputs == ("a", "b")


def render(spec: dict[str, Any]) -> str:
    """Return what the user sees of the file's problems; empty if there are none."""
    try:
        compile_graph(spec)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("start", range(0, 300, 30))
def test_damaged_file_gives_problems_and_no_traceback(start: int) -> None:
    shown = [render(damaged(seed)) for seed in range(start, start + 30)]
    assert any(shown)
    assert not [text for text in shown if "Node(" in text or "Error" in text]
