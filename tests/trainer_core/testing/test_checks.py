"""Each check of the kit fails on what it is there for, and says so."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trainer_core.discovery import names
from trainer_core.testing import collection, conformance_classes
from trainer_core.testing.declaration import checks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE = (Path(__file__).parent / "bad_parts.py").read_text(encoding="utf-8")
GROUPS = {
    "loss": "losses",
    "data": "datasets",
    "optim_factory": "optimizers",
    "sched_factory": "schedulers",
    "trainer": "trainers",
    "eval": "evaluators",
    "log": "loggers",
    "cb": "callbacks",
    "runner": "runners",
    "hook": "hooks",
    "io": "io",
    "metric": "metrics",
    "init": "initializers",
    "command": "commands",
}
GIVE_VALUES = "give small values: params in conformance.yaml, or of the test class"
CONSTRUCTOR_GROUPS = {"block": "blocks", "op": "ops"}

# check: (kind, class, attributes of the class of checks, part of the message)
FAILURES: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "tc002": ("loss", "Undocumented", {}, "importing bad_parts imports numpy, torch"),
    "tc003": ("loss", "NoBuild", {}, "NoBuild has no method 'build()'"),
    "tc004": ("loss", "AnyKeyword", {}, "takes **kwargs: a misspelt parameter would pass unseen"),
    "tc005": ("loss", "NeedsDelta", {}, "loss.part needs 'delta' (float)"),
    "tc006": ("loss", "NeedsDelta", {}, f"needs 'delta'; {GIVE_VALUES}"),
    "tc007": ("loss", "Undocumented", {}, "bad_parts:Undocumented has no docstring"),
    "tc008": ("loss", "Undocumented", {}, "bad 1.0 has no description in its pyproject.toml"),
    "tc009": ("loss", "Unsendable", {}, "lambda"),
    "tc010": ("loss", "Undocumented", {}, "needs a range such as 'trainer-core>=0.1,<0.2'"),
    "tc020": ("trainer", "Idle", {}, "train_step: loss is nan"),
    "tc021": ("trainer", "Idle", {}, "two steps changed no weight"),
    "tc022": ("trainer", "Counting", {}, "two runs with one seed differ: "),
    "tc023": ("trainer", "Counting", {}, "a resumed run ends in other weights: "),
    "tc030": ("data", "EmptyData", {}, "the data set is empty"),
    "tc031": ("data", "WordData", {}, "a batch holds no tensor"),
    "tc032": ("data", "WrongStatistics", {}, "norm_stats has 'z', which no batch has"),
    "tc033": ("data", "Drifting", {}, "x differs between two data sets built alike"),
    "tc035": ("io", "NoInputs", {}, "model_inputs returned nothing"),
    "tc036": ("io", "Popping", {}, "the batch was changed"),
    "tc040": ("loss", "Vector", {}, "the loss has shape [4, 2], not []"),
    "tc041": ("loss", "Flat", {}, "the gradient is zero everywhere"),
    "tc045": ("metric", "NoNumber", {}, "error is nan"),
    "tc046": ("metric", "Remembering", {}, "gave {'count': 2}, then {'count': 4}"),
    "tc047": ("metric", "Scaling", {}, "the prediction or the batch was changed"),
    "tc050": ("optim_factory", "Nameless", {}, "the groups are named [None], not ['model']"),
    "tc051": ("optim_factory", "Upwards", {}, "20 steps took a parabola from 14 to "),
    "tc052": ("optim_factory", "ForgetfulFactory", {}, "does not hold all of its state"),
    "tc055": ("sched_factory", "Hourly", {}, "the interval is 'hour', not step, epoch or metric"),
    "tc056": ("sched_factory", "Hourly", {}, "after loading its state the rates are [0.1"),
    "tc057": ("init", "first_row", {}, "it left nan or inf in the weight of a Linear"),
    "tc058": ("init", "own_dice", {}, "one seed gave two weights"),
    "tc060": ("cb", "Deaf", {}, "Deaf listens to no hook"),
    "tc061": ("cb", "Raising", {}, "not today"),
    "tc062": ("cb", "Shaking", {}, "a resumed run ends in other weights: "),
    "tc065": ("log", "Once", {}, "read-only"),
    "tc066": ("log", "Fragile", {}, "cannot convert float NaN to integer"),
    "tc067": ("log", "Once", {}, "File exists"),
    "tc070": ("block", "IdleBlock", {}, "say what its forward takes: inputs = [[2, 8]]"),
    "tc071": ("block", "IdleBlock", {"inputs": [[3, 2]]}, "no gradient reaches idle"),
    "tc072": ("block", "HiddenState", {"inputs": [[3, 2]]}, "something besides its state_dict"),
    "tc075": ("eval", "Words", {}, "there is no number among ['verdict']"),
    "tc076": ("eval", "Touching", {}, "evaluating changed weights: "),
    "tc077": ("eval", "Dividing", {}, "division by zero"),
    "tc080": ("runner", "Lazy", {}, "the run ended as ('checked', 0)"),
    "tc081": ("runner", "Eager", {}, "a dry run ended as 'completed'"),
    "tc082": ("runner", "Writing", {"refuses": "later"}, "it refuses to run, and ran"),
    "tc085": ("op", "IdleBlock", {}, "bad_parts:IdleBlock is no function; declare it as a block"),
    "tc086": ("op", "add_in_place", {"inputs": [[2], [2]]}, "an argument was changed"),
    "tc090": ("hook", "Deaf", {}, "implements no hook: mark its functions with hookimpl"),
    "tc091": ("hook", "RAISING", {}, "not today"),
    "tc095": ("command", "main", {}, "--help imports numpy, torch; import them later"),
}


@pytest.fixture(autouse=True)
def _forget_the_bad_parts() -> Iterator[None]:
    sys.modules.pop("bad_parts", None)
    yield
    sys.modules.pop("bad_parts", None)


@pytest.mark.parametrize("check", FAILURES)
def test_check_fails_on_what_it_is_there_for(
    check: str, fake_wheel: Callable[..., Path], tmp_path: Path
) -> None:
    kind, name, attributes, message = FAILURES[check]
    group = f"trainer_core.{GROUPS[kind]}" if kind in GROUPS else ""
    group = group or f"policy_constructor.{CONSTRUCTOR_GROUPS[kind]}"
    fake_wheel("bad", {group: {"part": f"bad_parts:{name}"}}, {"bad_parts.py": SOURCE})
    base = collection.BASES[kind]
    checks = type("Test_bad", (base,), {"key": f"{kind}.part", **attributes})()
    method = getattr(checks, checks_of(type(checks))[check.upper()][0])
    (tmp_path / "checks").mkdir()
    needs_folder = "tmp_path" in inspect.signature(method).parameters
    with pytest.raises(Exception) as failure:  # noqa: PT011 - strangers raise what they like
        method(**({"tmp_path": tmp_path / "checks"} if needs_folder else {}))
    assert message in str(failure.value)


def test_component_that_is_not_declared_is_not_listed(fake_wheel: Callable[..., Path]) -> None:
    hooks = {"trainer_core.hooks": {"part": "bad_parts:HOOKED"}}
    fake_wheel("bad", hooks, {"bad_parts.py": SOURCE})
    checks = type("Test_bad", (collection.BASES["loss"],), {"key": "loss.hooked"})()
    with pytest.raises(AssertionError, match=r"does not show loss\.hooked$"):
        checks.test_tc001_is_listed_without_import()


def test_every_check_is_seen_to_fail() -> None:
    numbers = {number for base in collection.BASES.values() for number in checks_of(base)}
    assert numbers - {number.upper() for number in FAILURES} == {"TC001", "TC097", "TC098"}


def test_recipes_are_held_to_the_check(fake_wheel: Callable[..., Path]) -> None:
    site = fake_wheel("bad", {"trainer_core.recipes": {"bad": "bad_recipes"}})
    (site / "bad_recipes").mkdir()
    (site / "bad_recipes" / "__init__.py").write_text("")
    checks = type("Test_bad", (collection.BASES["recipe"],), {"key": "recipe.bad"})()
    with pytest.raises(AssertionError, match=r"^bad_recipes holds no experiment file"):
        checks.test_tc097_holds_a_recipe()
    (site / "bad_recipes" / "silent.yaml").write_text("schema_version: 1\n")
    with pytest.raises(AssertionError, match=r"^bad/silent has mistakes:\n"):
        checks.test_tc098_recipes_have_no_mistakes()


def test_recipes_may_use_a_wheel_that_is_not_installed(
    fake_wheel: Callable[..., Path],
    dropout_experiment: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = fake_wheel("far", {"trainer_core.recipes": {"far": "far_recipes"}})
    (site / "far_recipes").mkdir()
    (site / "far_recipes" / "__init__.py").write_text("")
    text = json.dumps({**dropout_experiment, "runner": {"_type_": "distant"}})
    (site / "far_recipes" / "sound.yaml").write_text(text)
    checks = type("Test_far", (collection.BASES["recipe"],), {"key": "recipe.far"})()
    with pytest.raises(AssertionError, match=r"^far/sound has mistakes:\n.*'distant'"):
        checks.test_tc098_recipes_have_no_mistakes()
    monkeypatch.setitem(names._OTHER_WHEELS, ("runner", "distant"), "trainer-distant")
    checks.test_tc098_recipes_have_no_mistakes()


def test_exempted_check_is_not_collected() -> None:
    attributes = {"key": "runner.local", "exempt": {"TC081": "it writes"}}
    checks = type("Test_exempt", (collection.BASES["runner"],), attributes)
    assert "TC081" not in checks_of(checks)
    assert "TC080" in checks_of(checks)


def test_exemption_of_no_check_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Test_odd\.exempt: there is no check TC999 here$"):
        type("Test_odd", (collection.BASES["runner"],), {"exempt": {"TC999": "why not"}})


def test_base_classes_are_not_collected_themselves() -> None:
    assert not any(base.__test__ for base in collection.BASES.values())
    assert all(each.__test__ for each in conformance_classes("trainer-ddp").values())


def test_numbers_mean_one_check_each() -> None:
    found: dict[str, set[str]] = {}
    for base in collection.BASES.values():
        for number, (name, explanation) in checks_of(base).items():
            found.setdefault(number, set()).add(name)
            assert explanation, name
    assert all(len(names) == 1 for names in found.values()), found
