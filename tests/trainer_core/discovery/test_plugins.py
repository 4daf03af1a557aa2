from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from policy_constructor.discovery.registry import ConflictError, PluginLoadError, RegistryError
from trainer_core.discovery.plugins import discover
from trainer_core.discovery.registrar import Registrar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOSSES = "trainer_core.losses"
SLOPE = "class Slope:\n    def __init__(self, k: float = 1.0): ...\n    def build(self): ...\n"


def test_bare_name_means_the_kind_of_its_position() -> None:
    plugins = discover()

    assert plugins.find("torch", ["loss"]).full_id == "loss.torch"
    assert plugins.find("loss.torch", ["loss"]).full_id == "loss.torch"
    assert plugins.find("torch", ["optim_factory", "optim_cls"]).full_id == "optim_factory.torch"


def test_optimizer_position_takes_classes_of_torch() -> None:
    plugins = discover()

    assert plugins.find("AdamW", ["optim_factory", "optim_cls"]).target == "torch.optim:AdamW"
    assert plugins.find("optim_cls.SGD", ["optim_factory", "optim_cls"]).kind == "optim_cls"
    assert plugins.find("StepLR", ["sched_factory", "sched_cls"]).kind == "sched_cls"


def test_nested_bare_name_is_a_block() -> None:
    plugins = discover()

    assert plugins.find("nn.MSELoss").target == "torch.nn:MSELoss"
    assert plugins.find("mlp").full_id == "block.mlp"
    assert plugins.find("optim_cls.AdamW").kind == "optim_cls"


@pytest.mark.parametrize(
    ("name", "kinds", "message"),
    [
        ("torhc", ["loss"], "unknown loss 'torhc'; did you mean 'torch'?"),
        ("loss.torhc", ["loss"], "unknown loss 'torhc'; did you mean 'torch'?"),
        ("cb.ema", ["loss"], "'cb.ema' is a callback, not a loss"),
        ("ema", ["loss"], "'ema' is a callback, not a loss"),
        ("stdout", ["cb"], "'stdout' is a logger, not a callback"),
        ("jsonl", ["eval"], "'jsonl' is a logger, not an evaluator"),
        (
            "AdmaW",
            ["optim_factory", "optim_cls"],
            "unknown optimizer 'AdmaW'; did you mean 'AdamW' or 'Adamax' or 'Adam'?",
        ),
        ("nn.Lienar", [], "unknown block 'nn.Lienar'; did you mean 'nn.Linear'"),
        (
            "acme::torch",
            ["loss"],
            "unknown loss 'acme::torch'; did you mean 'trainer-core::torch'?",
        ),
    ],
)
def test_unknown_name_says_what_is_near(name: str, kinds: list[str], message: str) -> None:
    with pytest.raises(RegistryError) as caught:
        discover().find(name, kinds)

    assert str(caught.value).startswith(message)


def test_absent_wheel_of_ours_is_named_with_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = discover()
    others = [record for record in plugins.entry_points if record.dist != "trainer-ddp"]
    monkeypatch.setattr(plugins, "entry_points", others)
    plugins.registries = plugins._build()

    with pytest.raises(RegistryError) as caught:
        plugins.find("ddp", ["runner"])

    expected = "unknown runner 'ddp'; it comes with another wheel: pip install 'trainer-ddp'"
    assert str(caught.value) == expected


def test_key_added_since_an_editable_install_is_named(
    fake_wheel: Callable[..., Path], tmp_path: Path
) -> None:
    site = fake_wheel("acme-loss", {LOSSES: {"slope": "acme_loss:Slope"}})
    origin = {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
    (site / "acme_loss-1.0.dist-info" / "direct_url.json").write_text(json.dumps(origin))
    table = f'[project.entry-points."{LOSSES}"]\nbend = "acme_loss:Bend"\n'
    (tmp_path / "pyproject.toml").write_text(table)

    with pytest.raises(RegistryError) as caught:
        discover().find("bend", ["loss"])

    assert str(caught.value) == (
        "unknown loss 'bend'; the source of acme-loss declares it, its installation is older: "
        f"pip install --no-deps -e '{tmp_path}'"
    )


def test_listing_imports_no_plugin(fake_wheel: Callable[..., Path]) -> None:
    fake_wheel("acme-loss", {LOSSES: {"slope": "acme_unimported:Slope"}})

    rows = discover().records()

    assert ("loss", "slope", "acme-loss", "1.0", "acme_unimported:Slope", "ok") in rows
    assert "acme_unimported" not in sys.modules


def test_name_of_two_wheels_names_both_and_the_cures(fake_wheel: Callable[..., Path]) -> None:
    fake_wheel("acme-a", {LOSSES: {"slope": "acme_a:Slope"}})
    fake_wheel("acme-b", {LOSSES: {"slope": "acme_b:Slope"}})

    with pytest.raises(ConflictError) as caught:
        discover().find("slope", ["loss"])

    assert str(caught.value) == (
        "loss 'slope' is provided by acme-a 1.0 (acme_a:Slope) and acme-b 1.0 (acme_b:Slope); "
        "write 'acme-a::slope' or 'acme-b::slope', or set plugins.prefer: {loss: {slope: acme-a}}"
    )


@pytest.mark.parametrize("name", ["acme-b::slope", "acme-b::loss.slope"])
def test_qualified_name_settles_a_conflict(name: str, fake_wheel: Callable[..., Path]) -> None:
    fake_wheel("acme-a", {LOSSES: {"slope": "acme_a:Slope"}})
    fake_wheel("acme-b", {LOSSES: {"slope": "acme_b:Slope"}})

    assert discover().find(name, ["loss"]).dist == "acme-b"


def test_preferred_wheel_settles_a_conflict(fake_wheel: Callable[..., Path]) -> None:
    fake_wheel("acme-a", {LOSSES: {"slope": "acme_a:Slope"}})
    fake_wheel("acme-b", {LOSSES: {"slope": "acme_b:Slope"}}, {"acme_b.py": SLOPE})

    plugins = discover().restricted(prefer={"loss": {"slope": "acme-b"}})

    ref = plugins.find("slope", ["loss"])
    assert ref.dist == "acme-b"
    assert plugins.load(ref).__module__ == "acme_b"


def test_disabled_wheel_is_not_used(
    fake_wheel: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_wheel("acme-loss", {LOSSES: {"slope": "acme_loss:Slope"}})
    monkeypatch.setenv("TRAINER_DISABLE_PLUGINS", "acme-loss")

    with pytest.raises(RegistryError) as caught:
        discover().find("slope", ["loss"])

    assert str(caught.value) == (
        "loss 'slope' of acme-loss 1.0 is switched off: "
        "TRAINER_DISABLE_PLUGINS or --disable-plugin names it"
    )
    assert ("slope", "blocked") in [(row.key, row.status) for row in discover().records()]


def test_disabled_component_leaves_its_wheel(fake_wheel: Callable[..., Path]) -> None:
    fake_wheel("acme-loss", {LOSSES: {"slope": "acme_loss:A", "bend": "acme_loss:B"}})

    plugins = discover(disable=["loss.slope"])

    statuses = {row.key: row.status for row in plugins.records() if row.dist == "acme-loss"}
    assert statuses == {"bend": "ok", "slope": "blocked"}


def test_allow_list_keeps_our_own_wheels(
    fake_wheel: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_wheel("acme-a", {LOSSES: {"slope": "acme_a:Slope"}})
    fake_wheel("acme-b", {LOSSES: {"bend": "acme_b:Bend"}})
    monkeypatch.setenv("TRAINER_PLUGINS_ONLY", "acme-b")

    statuses = {(row.dist, row.status) for row in discover().records()}

    assert {("acme-a", "blocked"), ("acme-b", "ok"), ("trainer-core", "ok")} <= statuses


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("???", "line 2 of entry_points.txt is not 'name = module:attribute'"),
        ("acme_slope", "'acme_slope' is a module, not 'module:attribute'"),
    ],
)
def test_name_that_is_declared_wrongly_says_how(
    value: str, reason: str, fake_wheel: Callable[..., Path]
) -> None:
    fake_wheel("acme", {LOSSES: {"slope": value}})
    with pytest.raises(RegistryError) as caught:
        discover().find("slope", ["loss"])
    assert caught.value.message == f"loss 'slope' of acme 1.0 cannot be used: {reason}"


def test_broken_wheel_breaks_only_its_use(fake_wheel: Callable[..., Path]) -> None:
    fake_wheel("acme-bad", {LOSSES: {"bad": "acme_bad:X"}}, {"acme_bad.py": "1 / 0\n"})
    plugins = discover()

    with pytest.raises(PluginLoadError) as caught:
        plugins.load(plugins.find("bad", ["loss"]))

    assert "loss 'bad' of acme-bad 1.0 cannot be used: ZeroDivisionError" in str(caught.value)
    assert plugins.find("torch", ["loss"]).dist == "trainer-core"


def test_component_without_the_protocol_is_refused(fake_wheel: Callable[..., Path]) -> None:
    fake_wheel("acme-p", {LOSSES: {"odd": "acme_p:Odd"}}, {"acme_p.py": "class Odd: ...\n"})
    plugins = discover()

    with pytest.raises(PluginLoadError, match="build"):
        plugins.load(plugins.find("odd", ["loss"]))


def test_hook_may_register_what_no_entry_point_names(fake_wheel: Callable[..., Path]) -> None:
    hook = (
        "from trainer_core import hookimpl\n\n@hookimpl\n"
        "def trainer_register_components(registrar):\n"
        "    registrar.add('loss', 'late', 'acme_late_loss:Late')\n"
    )
    fake_wheel("acme-late", {"trainer_core.hooks": {"late": "acme_late"}}, {"acme_late.py": hook})

    ref = discover().find("late", ["loss"])

    assert (ref.source, ref.dist, ref.target) == ("hook", "acme-late", "acme_late_loss:Late")


def test_hook_plugins_run_in_the_order_of_their_names(fake_wheel: Callable[..., Path]) -> None:
    for name in ("acme-z", "acme-a", "acme-m"):
        module = name.replace("-", "_") + "_hooks"
        text = (
            "from trainer_core import hookimpl\n\n@hookimpl\n"
            f"def trainer_select_runner(config):\n    config.append({name!r})\n"
        )
        fake_wheel(name, {"trainer_core.hooks": {"h": module}}, {f"{module}.py": text})
    seen: list[str] = []

    discover().hook_manager().hook.trainer_select_runner(config=seen)

    assert seen == ["acme-a", "acme-m", "acme-z"]


def test_broken_hook_plugin_is_named_and_left_out(fake_wheel: Callable[..., Path]) -> None:
    fake_wheel("acme-h", {"trainer_core.hooks": {"h": "acme_h"}}, {"acme_h.py": "1 / 0\n"})
    plugins = discover()

    manager = plugins.hook_manager()

    assert not manager.get_plugins()
    assert plugins.hook_problems == [
        "hook plugin 'h' of acme-h 1.0 (acme_h) is not used: ZeroDivisionError: division by zero"
    ]


def test_unknown_hook_is_named_and_left_out(fake_wheel: Callable[..., Path]) -> None:
    text = "from trainer_core import hookimpl\n\n@hookimpl\ndef trainer_fit_strat(state): ...\n"
    fake_wheel("acme-u", {"trainer_core.hooks": {"u": "acme_u"}}, {"acme_u.py": text})
    plugins = discover()

    plugins.hook_manager()

    assert "unknown hook 'trainer_fit_strat'" in plugins.hook_problems[0]


@pytest.mark.parametrize(
    ("kind", "target", "message"),
    [
        ("lost", "a:b", "unknown kind of component 'lost'"),
        ("loss", "a", "'a' is not 'module:attribute'"),
    ],
)
def test_registrar_takes_only_references(kind: str, target: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Registrar().add(kind, "x", target)


def test_recipes_are_found_without_import(fake_wheel: Callable[..., Path]) -> None:
    site = fake_wheel("acme-r", {"trainer_core.recipes": {"acme": "acme_recipes"}})
    folder = site / "acme_recipes"
    folder.mkdir()
    (folder / "__init__.py").write_text("1 / 0\n")
    (folder / "walk.yaml").write_text("run: {}\n")
    plugins = discover()

    assert plugins.find_recipe("acme/walk") == folder / "walk.yaml"
    assert plugins.find_recipe("acme/../walk") is None
    assert "acme/walk" in plugins.recipe_names()
