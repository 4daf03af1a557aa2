from __future__ import annotations

import itertools
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pytest

from policy_constructor.discovery.component import ComponentRef, Family, refs_by_kind
from policy_constructor.discovery.metadata import EntryPointRecord, scan
from policy_constructor.discovery.registry import (
    BlockedError,
    ConflictError,
    PluginLoadError,
    Registry,
    RegistryError,
    UnknownComponentError,
    blocks_registry,
    build_registries,
    ops_registry,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.policy_constructor.conftest import WriteWheel

L2 = ComponentRef("loss", "l2", "il.losses", "L2", "experiments-il", "0.1.0", origin="/il")
OTHER_L2 = ComponentRef("loss", "l2", "robot.losses", "L2", "robot-losses", "2.1", origin="/robot")
KOT = ComponentRef("loss", "kot", "il.losses", "KOT", "experiments-il", "0.1.0", origin="/il")
LOSSES = {"trainer_core.losses": ("loss",)}
BLOCK_FAMILY = Family("block", "nn.", "torch.nn", "policy-constructor", "0.1.0")


@runtime_checkable
class LossFactory(Protocol):
    def build(self) -> object: ...


def test_keys_and_refs_are_sorted_and_complete() -> None:
    registry: Registry[Any] = Registry("loss", [OTHER_L2, L2, KOT])
    assert registry.keys() == list(registry) == ["kot", "l2"]
    assert registry.refs() == [KOT, L2, OTHER_L2]
    assert len(registry) == 2


def test_ref_knows_its_target_id_and_wheel() -> None:
    assert (L2.target, L2.full_id) == ("il.losses:L2", "loss.l2")
    assert L2.wheel == "experiments-il 0.1.0"


def test_unknown_key_suggests_the_nearest() -> None:
    registry: Registry[Any] = Registry("loss", [KOT])
    with pytest.raises(UnknownComponentError) as caught:
        registry.ref("kto")
    assert str(caught.value) == "unknown loss 'kto'; did you mean 'kot'?"
    assert (caught.value.kind, caught.value.key) == ("loss", "kto")
    assert caught.value.suggestions == ("kot",)


def test_unknown_wheel_in_a_qualified_key_suggests_the_right_one() -> None:
    registry: Registry[Any] = Registry("loss", [KOT])
    with pytest.raises(UnknownComponentError) as caught:
        registry.ref("robot-losses::kot")
    assert caught.value.suggestions == ("experiments-il::kot",)


@pytest.mark.parametrize("refs", list(itertools.permutations([L2, OTHER_L2, KOT])))
def test_conflict_names_both_wheels_in_any_order(refs: tuple[ComponentRef, ...]) -> None:
    registry: Registry[Any] = Registry("loss", refs)
    with pytest.raises(ConflictError) as caught:
        registry.load("l2")
    assert str(caught.value) == (
        "loss 'l2' is provided by experiments-il 0.1.0 (il.losses:L2)"
        " and robot-losses 2.1 (robot.losses:L2); write 'experiments-il::l2' or 'robot-losses::l2',"
        " or set plugins.prefer: {loss: {l2: experiments-il}}"
    )


def test_conflict_does_not_harm_other_keys() -> None:
    registry: Registry[Any] = Registry("loss", [L2, OTHER_L2, KOT])
    assert registry.ref("kot") is KOT
    assert "l2" in registry


@pytest.mark.parametrize(
    ("key", "expected"), [("experiments-il::l2", L2), ("Robot_Losses::l2", OTHER_L2)]
)
def test_qualified_key_resolves_a_conflict(key: str, expected: ComponentRef) -> None:
    registry: Registry[Any] = Registry("loss", [L2, OTHER_L2])
    assert registry.ref(key) is expected


def test_preferred_wheel_resolves_a_conflict() -> None:
    registry: Registry[Any] = Registry("loss", [L2, OTHER_L2], prefer={"l2": "robot_losses"})
    assert registry.ref("l2") is OTHER_L2
    assert [registry.status(ref) for ref in (L2, OTHER_L2)] == ["shadowed", "ok"]


@pytest.mark.parametrize("name", ["experiments-il", "loss.l2"])
def test_blocked_component_says_who_blocked_it(name: str) -> None:
    registry: Registry[Any] = Registry("loss", [L2], blocked={name: "plugins.disable"})
    with pytest.raises(BlockedError) as caught:
        registry.ref("l2")
    assert str(caught.value) == (
        "loss 'l2' of experiments-il 0.1.0 is switched off: plugins.disable"
    )


def test_blocking_one_wheel_resolves_a_conflict() -> None:
    registry: Registry[Any] = Registry("loss", [L2, OTHER_L2], blocked={"experiments-il": "x"})
    assert registry.ref("l2") is OTHER_L2


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (KOT, "ok"),
        (L2, "conflict"),
        (KOT._replace(key="hidden", shadowed=True), "shadowed"),
        (KOT._replace(key="broken", problem="line 2 is wrong"), "invalid"),
        (KOT._replace(key="module", attr=""), "invalid"),
        (KOT._replace(key="off", dist="off"), "blocked"),
    ],
)
def test_status_of_each_sort(ref: ComponentRef, expected: str) -> None:
    registry: Registry[Any] = Registry("loss", [L2, OTHER_L2, ref], blocked={"off": "x"})
    assert registry.status(ref) == expected


def test_load_imports_once_and_keeps_the_object(write_wheel: WriteWheel, import_path: Path) -> None:
    source = "class L2:\n    pass\n"
    write_wheel(
        "losses",
        "[trainer_core.losses]\nl2 = sample_losses:L2\n",
        modules={"sample_losses": source},
    )
    registry = build_registries(scan([str(import_path)]), LOSSES)["loss"]
    assert "sample_losses" not in sys.modules
    assert registry.load("l2") is registry["l2"] is sys.modules["sample_losses"].L2


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise RuntimeError('no GPU')", "RuntimeError: no GPU"),
        ("x = 1", "AttributeError: module 'broken_losses' has no attribute 'L2'"),
    ],
)
def test_broken_plugin_is_named_with_its_wheel(
    write_wheel: WriteWheel, import_path: Path, source: str, reason: str
) -> None:
    entry = "[trainer_core.losses]\nl2 = broken_losses:L2\n"
    write_wheel("broken-wheel", entry, version="1.2", modules={"broken_losses": source})
    registry = build_registries(scan([str(import_path)]), LOSSES)["loss"]
    with pytest.raises(PluginLoadError) as caught:
        registry.load("l2")
    assert str(caught.value) == (
        f"loss 'l2' of broken-wheel 1.2 cannot be used: {reason} (declared as 'broken_losses:L2'"
        f" in {import_path / 'broken_wheel-1.2.dist-info'})"
    )
    assert caught.value.__cause__ is not None


def test_syntax_error_in_a_plugin_is_isolated(write_wheel: WriteWheel, import_path: Path) -> None:
    entry = "[trainer_core.losses]\nl2 = odd_losses:L2\n"
    write_wheel("odd", entry, modules={"odd_losses": "def ("})
    registry = build_registries(scan([str(import_path)]), LOSSES)["loss"]
    with pytest.raises(PluginLoadError, match="SyntaxError"):
        registry.load("l2")


def test_keyboard_interrupt_at_import_is_passed_on(
    write_wheel: WriteWheel, import_path: Path
) -> None:
    entry = "[trainer_core.losses]\nl2 = slow_losses:L2\n"
    write_wheel("slow", entry, modules={"slow_losses": "raise KeyboardInterrupt"})
    registry = build_registries(scan([str(import_path)]), LOSSES)["loss"]
    with pytest.raises(KeyboardInterrupt):
        registry.load("l2")


def test_wrong_protocol_is_a_load_error(write_wheel: WriteWheel, import_path: Path) -> None:
    entry = "[trainer_core.losses]\nl2 = bare_losses:L2\n"
    write_wheel("bare", entry, modules={"bare_losses": "class L2: ..."})
    records = scan([str(import_path)])
    registry = build_registries(records, LOSSES, protocols={"loss": LossFactory})["loss"]
    with pytest.raises(PluginLoadError, match=r"cannot be used: L2 has no method 'build\(\)'"):
        registry.load("l2")


def test_protocol_may_be_a_function() -> None:
    ref = ComponentRef("op", "add", "operator", "add", "x", "1")
    registry: Registry[Any] = Registry("op", [ref], protocol=lambda _: "it is not right")
    with pytest.raises(PluginLoadError, match="cannot be used: it is not right"):
        registry.load("add")


def test_decorated_object_is_loaded_by_its_key() -> None:
    registry: Registry[Any] = Registry("loss")

    @registry.register("mine")
    def build() -> int:
        return 3

    assert registry.load("mine") is build
    assert registry.ref("mine").source == "decorator"


def test_decorating_an_installed_target_changes_nothing(
    write_wheel: WriteWheel, import_path: Path
) -> None:
    source = "from registry_under_test import R\n\n@R.register('l2')\nclass L2: ..."
    entry = "[trainer_core.losses]\nl2 = self_registering:L2\n"
    write_wheel("losses", entry, modules={"self_registering": source})
    registry = build_registries(scan([str(import_path)]), LOSSES)["loss"]
    (import_path / "registry_under_test.py").write_text("R = None")
    import registry_under_test  # type: ignore[import-not-found] # written two lines above

    registry_under_test.R = registry
    assert registry.load("l2").__name__ == "L2"
    assert len(registry.refs()) == 1


def test_decorating_another_object_is_a_conflict() -> None:
    registry: Registry[Any] = Registry("loss", [L2])
    registry.register("l2")(int)
    with pytest.raises(ConflictError, match=r"builtins \(builtins:int\)"):
        registry.load("l2")


@pytest.mark.parametrize(
    "key", ["nn.Linear", "nn.LSTM", "nn.Tanh", "policy_constructor::nn.Conv2d"]
)
def test_family_has_the_classes_of_its_module(key: str) -> None:
    registry: Registry[Any] = Registry("block", families=[BLOCK_FAMILY])
    name = key.rpartition(".")[2]
    assert key in registry
    assert registry.ref(key).target == f"torch.nn:{name}"


@pytest.mark.parametrize(
    "key",
    [
        "nn.Module",
        "nn.Parameter",
        "nn.functional",
        "nn.factory_kwargs",
        "nn._reduction",
        "nn.",
        "Linear",
    ],
)
def test_family_leaves_out_what_is_no_block(key: str) -> None:
    registry: Registry[Any] = Registry("block", families=[BLOCK_FAMILY])
    assert key not in registry


@pytest.mark.parametrize(
    ("kind", "module", "members", "others"),
    [
        ("optim_cls", "torch.optim", ["AdamW", "SGD"], ["Optimizer", "lr_scheduler", "adamw"]),
        (
            "sched_cls",
            "torch.optim.lr_scheduler",
            ["CosineAnnealingLR", "ReduceLROnPlateau"],
            ["LRScheduler", "Counter", "Optimizer"],
        ),
    ],
)
def test_families_of_torch_keep_to_their_base_class(
    kind: str, module: str, members: list[str], others: list[str]
) -> None:
    registry: Registry[Any] = Registry(kind, families=[Family(kind, "", module, "trainer-core")])
    assert all(name in registry for name in members)
    assert not any(name in registry for name in others)


def test_misspelled_family_member_gets_members_suggested() -> None:
    registry: Registry[Any] = Registry("block", families=[BLOCK_FAMILY])
    with pytest.raises(UnknownComponentError) as caught:
        registry.ref("nn.Liner")
    assert caught.value.suggestions[0] == "nn.Linear"


def test_explicit_key_beside_a_family_is_a_conflict() -> None:
    mine = ComponentRef("block", "nn.Linear", "mine", "Linear", "mine", "1")
    registry: Registry[Any] = Registry("block", [mine], [BLOCK_FAMILY])
    with pytest.raises(ConflictError):
        registry.ref("nn.Linear")
    assert registry.status(mine) == "conflict"


def test_family_lookups_import_no_torch() -> None:
    code = (
        "import sys; from policy_constructor.discovery.registry import blocks_registry\n"
        "r = blocks_registry(); r.ref('nn.Conv2d'); 'nn.Convv' in r; r.known_names()\n"
        "from policy_constructor.signatures.signature import read_signature\n"
        "read_signature(r.ref('nn.LSTM'))\n"
        "print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"


@pytest.mark.parametrize(
    ("name", "kind", "key"),
    [
        ("torch", "optim_factory", "torch"),
        ("optim_cls.Lion", "optim_cls", "Lion"),
        ("my.torch", "optim_factory", "my.torch"),
    ],
)
def test_name_may_begin_with_another_kind_of_its_group(name: str, kind: str, key: str) -> None:
    record = EntryPointRecord("trainer_core.optimizers", name, "m:A", "x", "1", "/x")
    refs, _ = refs_by_kind([record], {"trainer_core.optimizers": ("optim_factory", "optim_cls")})
    assert [(ref.kind, ref.key) for ref in refs] == [(kind, key)]


def test_wildcard_needs_a_module() -> None:
    record = EntryPointRecord("policy_constructor.blocks", "nn.*", "m:A", "x", "1", "/x")
    refs, families = refs_by_kind([record], {"policy_constructor.blocks": ("block",)})
    assert families == []
    assert refs[0].problem == "'nn.*' = 'm:A' is not 'prefix.* = module'"


def test_own_blocks_and_ops_are_installed() -> None:
    assert {"mlp", "transformer_decoder"} <= set(blocks_registry())
    assert ops_registry().load("add")(2, 3) == 5


def test_registry_errors_are_lookup_errors() -> None:
    with pytest.raises(LookupError):
        Registry[Any]("loss").ref("x")
    assert issubclass(RegistryError, LookupError)
