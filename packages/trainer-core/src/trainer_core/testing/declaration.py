"""The checks that hold for everything a wheel declares: components and hook plugins."""

from __future__ import annotations

import inspect
import re
import sys
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from policy_constructor.discovery.metadata import normalize_name, read_headers
from trainer_core.discovery.plugins import Plugins, discover
from trainer_core.testing.isolated import HEAVY, import_package, list_plugins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy_constructor.discovery.component import ComponentRef

__all__ = ["Conformance", "DeclaredConformance", "checks_of", "installed", "require"]

_CONTRACTS = {"trainer-core", "policy-constructor"}
_PREFIX = "test_tc"


def require(condition: object, message: str) -> None:
    """Fail the check with a message unless the condition holds."""
    __tracebackhide__ = True
    if not condition:
        raise AssertionError(message)


def installed() -> Plugins:
    """Return what is installed; found once for each state of `sys.path`."""
    return _installed(tuple(sys.path))


@lru_cache(maxsize=8)
def _installed(_path: tuple[str, ...]) -> Plugins:
    return discover()


def checks_of(base: type[Conformance]) -> dict[str, tuple[str, str]]:
    """Return the checks of a class by number: the method's name and its explanation."""
    found = {}
    for name in dir(base):
        method = getattr(base, name)
        if name.startswith(_PREFIX) and method is not None:
            number = name.removeprefix("test_").partition("_")[0].upper()
            found[number] = (name, inspect.getdoc(method) or "")
    return dict(sorted(found.items()))


class Conformance:
    """Checks of anything declared by an entry point; extend one of the subclasses.

    Attributes:
        key: The full id, `loss.huber`, or with its wheel, `acme-parts::loss.huber`.
        params: Parameters to build it with, as a file would have them; small ones.
        exempt: Checks that do not hold, by number, each with its reason. They are left out, and
            a run with `--trainer-conformance` lists them.
        prepare: `module:function` that writes what the component reads, such as a few recorded
            episodes: called with an empty folder, in which each check is then done.
        import_budget_s: Processor time that importing the root package may take, in seconds.
    """

    __test__ = False
    key: ClassVar[str] = ""
    params: ClassVar[Mapping[str, Any]] = {}
    exempt: ClassVar[Mapping[str, str]] = {}
    prepare: ClassVar[str] = ""
    import_budget_s: ClassVar[float] = 1.0

    def __init_subclass__(cls) -> None:
        """Make pytest collect a class that names a component, without the exempted checks."""
        super().__init_subclass__()
        cls.__test__ = bool(cls.key)
        known = checks_of(cls)
        for number in cls.exempt:
            if number not in known:
                msg = f"{cls.__name__}.exempt: there is no check {number} here"
                raise ValueError(msg)
            setattr(cls, known[number][0], None)

    @pytest.fixture(autouse=True)
    def prepared_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Do the check in a folder that `prepare` wrote to."""
        if self.prepare:
            module, _, name = self.prepare.partition(":")
            getattr(import_module(module), name)(tmp_path)
            monkeypatch.chdir(tmp_path)

    @classmethod
    def unprepared(cls) -> dict[str, str]:
        """Return the checks that cannot be done before the author has said more, with the reason.

        A run with `--trainer-conformance` lists them; a class in a test module fails them.
        """
        return {}

    @classmethod
    def ref(cls) -> ComponentRef:
        """Return the reference that discovery has for the key."""
        return installed().find(cls.key)

    def load(self) -> Any:
        """Import the object and hold it against its protocol."""
        return installed().load(self.ref())

    def test_tc001_is_listed_without_import(self) -> None:
        """Listing the plugins shows it, and imports neither its module nor torch."""
        ref = self.ref()
        rows, modules = list_plugins()
        listed = [ref.kind, ref.key, ref.dist, ref.target]
        require(listed in rows, f"'trainer plugins list' does not show {self.key}")
        borrowed = ref.module in sys.stdlib_module_names
        message = f"listing the plugins imported {ref.module}"
        require(borrowed or ref.module not in modules, message)
        require("torch" not in modules, "listing the plugins imported torch")

    def test_tc002_root_package_imports_fast_and_light(self) -> None:
        """Importing the root package is quick and brings neither torch nor its like."""
        root = self.ref().module.partition(".")[0]
        if root in HEAVY:  # `torch:cat` declares another's function: that is imported when used
            return
        found = import_package(root)
        require(not found.error, f"importing {root} fails: {found.error}")
        heavy = ", ".join(found.heavy)
        require(not heavy, f"importing {root} imports {heavy}; import them in a submodule")
        message = f"importing {root} takes {found.cpu_s:.2f} s; allowed are {self.import_budget_s}"
        require(found.cpu_s <= self.import_budget_s, message)

    def test_tc003_target_keeps_to_its_protocol(self) -> None:
        """The target of the entry point exists and has the methods its kind is called with."""
        require(self.load() is not None, f"{self.ref().target} is None")

    def test_tc007_is_documented(self) -> None:
        """The target has a docstring of its own."""
        target = self.load()
        doc = target.__doc__ if not inspect.isclass(target) else vars(target).get("__doc__")
        require((doc or "").strip(), f"{self.ref().target} has no docstring")

    def test_tc008_wheel_has_a_readme(self) -> None:
        """The wheel's metadata carries a summary and a README."""
        ref = self.ref()
        headers = read_headers(ref.origin)
        text = (Path(ref.origin) / "METADATA").read_text(encoding="utf-8")
        readme = text.partition("\n\n")[2].strip() or headers.get("description")
        require(headers.get("summary"), f"{ref.wheel} has no description in its pyproject.toml")
        require(readme, f"{ref.wheel} has no readme in its pyproject.toml")

    def test_tc010_wheel_says_which_core_it_was_written_for(self) -> None:
        """The wheel requires trainer-core or policy-constructor with a lower and an upper bound."""
        ref = self.ref()
        headers = read_headers(ref.origin)
        wanted = [r for r in headers.get("requires-dist", []) if _name_of(r) in _CONTRACTS]
        bounded = [r for r in wanted if ">=" in r and "<" in r]
        message = f"{ref.wheel} needs a range such as 'trainer-core>=0.1,<0.2' in its dependencies"
        require(bounded or ref.dist in _CONTRACTS, message)


class DeclaredConformance(Conformance):
    """Checks of a declaration that is no component, such as `command.data`."""

    @classmethod
    def ref(cls) -> ComponentRef:
        """Return the reference that discovery has for the key."""
        dist, _, name = cls.key.rpartition("::")
        plugins = installed()
        declared = (*plugins.commands, *plugins.recipes, *plugins.hooks)
        usable = [ref for ref in declared if ref.full_id == name and dist in {"", ref.dist}]
        require(usable, f"no installed wheel declares {cls.key}")
        return usable[0]

    def load(self) -> Any:
        """Import the object."""
        module, _, attribute = self.ref().target.partition(":")
        found = import_module(module)
        return getattr(found, attribute) if attribute else found


def _name_of(requirement: str) -> str:
    """Return the wheel that a line of `Requires-Dist` is about."""
    return normalize_name(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
