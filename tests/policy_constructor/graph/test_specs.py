"""How strictly the arguments of specs are checked, and what `_target_` may import."""

from __future__ import annotations

from typing import Any

import pytest

from policy_constructor.config import resolve_config
from policy_constructor.errors import ConfigError
from policy_constructor.graph.compiler import compile_graph


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 2),
        ({"strict": False}, 2),
        ({"signature_policy": "best_effort"}, 2),
        ({"signature_policy": "runtime"}, 0),
    ],
)
def test_runtime_policy_leaves_arguments_to_the_call(settings: Any, count: int) -> None:
    layers = [{"_type_": "nn.ReLU", "inplaced": True}, {"_type_": "nn.Linear", "_args_": [1]}]
    resolved = resolve_config({"settings": settings, "model": {"sequential": {"layers": layers}}})
    compile_graph(resolved, strict=False)
    assert len(resolved.problems) == count


@pytest.mark.parametrize(("policy", "count"), [("strict", 1), ("best_effort", 0)])
def test_unreadable_signature_is_refused_when_strict(policy: Any, count: int) -> None:
    settings = {"allow_target": True, "allowed_import_prefixes": ["zlib"]}
    layers = [{"_target_": "zlib.compressobj"}]
    resolved = resolve_config({"settings": settings, "model": {"sequential": {"layers": layers}}})
    compile_graph(resolved, policy=policy, strict=False)
    assert len(resolved.problems) == count


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "'_target_' imports by name, which is off"),
        ({"allow_target": True}, "'os.system' is not under settings.allowed_import_prefixes"),
        (
            {"allow_target": True, "allowed_import_prefixes": ["o", "os.path"]},
            "'os.system' is not under settings.allowed_import_prefixes",
        ),
    ],
)
def test_target_needs_leave_and_prefix(settings: Any, message: str) -> None:
    source = {"settings": settings, "model": {"_target_": "os.system", "command": "true"}}
    with pytest.raises(ConfigError) as caught:
        compile_graph(source)
    assert [problem.message for problem in caught.value.problems] == [message]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"signature_policy": "stict"}, "unknown signature policy 'stict'"),
        ({"allow_target": "yes"}, "settings.allow_target must be true or false, found 'yes'"),
        ({"allow_targets": True}, "'settings' has no key 'allow_targets'"),
        (
            {"allowed_import_prefixes": "os"},
            "settings.allowed_import_prefixes must be a list, found 'os'",
        ),
    ],
)
def test_wrong_setting_is_refused(settings: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_graph({"settings": settings, "model": {"_type_": "mlp", "dims": [1, 2]}})
    assert [problem.message for problem in caught.value.problems] == [message]


def test_misspelt_target_names_the_nearest() -> None:
    settings = {"allow_target": True, "allowed_import_prefixes": ["torch.nn"]}
    resolved = resolve_config({"settings": settings, "model": {"_target_": "torch.nn.Lnear"}})
    compile_graph(resolved, strict=False)
    problem = resolved.problems[0]
    assert (problem.path, problem.message) == ("model._target_", "there is no 'Lnear' in torch.nn")
    assert problem.suggestions[0] == "Linear"
