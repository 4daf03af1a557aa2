from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from policy_constructor.source.static import (
    base_classes,
    class_attribute,
    derives_from,
    find_attribute,
    locate,
    public_names,
    read_module,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def write(import_path: Path) -> Iterator[Callable[[dict[str, str]], Path]]:
    """Write files of a package `sample`, none of which may ever be imported."""

    def write_files(files: dict[str, str]) -> Path:
        for name, source in {"sample/__init__.py": "", **files}.items():
            path = import_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        return import_path

    yield write_files
    assert "sample" not in sys.modules


def name_of(module: str, attr: str) -> tuple[str, str] | None:
    found = find_attribute(module, attr)
    return (found.module, getattr(found.node, "name", "")) if found else None


CLASS = "class Kot: ...\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sample/__init__.py": CLASS}, "sample"),
        ({"sample/__init__.py": "from .a import Kot", "sample/a.py": CLASS}, "sample.a"),
        (
            {"sample/__init__.py": "from sample.a import Kot as Kot", "sample/a.py": CLASS},
            "sample.a",
        ),
        ({"sample/__init__.py": "from .a import *", "sample/a.py": CLASS}, "sample.a"),
        (
            {
                "sample/__init__.py": "from .a import *",
                "sample/a.py": "from .b import *\n__all__ = ['Kot']",
                "sample/b.py": CLASS,
            },
            "sample.b",
        ),
        (
            {
                "sample/__init__.py": "from . import a\nKot = a.Other",
                "sample/a.py": "class Other: ...",
            },
            "sample.a",
        ),
        (
            {"sample/__init__.py": "import sample.a\nKot = sample.a.Kot", "sample/a.py": CLASS},
            "sample.a",
        ),
        (
            {"sample/__init__.py": "import sample.a as x\nKot = x.Kot", "sample/a.py": CLASS},
            "sample.a",
        ),
        (
            {"sample/__init__.py": "if True:\n    from .a import Kot", "sample/a.py": CLASS},
            "sample.a",
        ),
        (
            {
                "sample/__init__.py": "try:\n    from missing import Kot\nexcept ImportError:\n"
                "    from .a import Kot",
                "sample/a.py": CLASS,
            },
            "sample.a",
        ),
        (
            {
                "sample/__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
                "    from .a import Kot\nelse:\n    Kot = None",
                "sample/a.py": CLASS,
            },
            "sample.a",
        ),
        (
            {
                "sample/__init__.py": "import sys\nif sys.version_info >= (3, 99):\n"
                "    from .new import Kot\nelse:\n    from .a import Kot",
                "sample/a.py": CLASS,
                "sample/new.py": CLASS,
            },
            "sample.a",
        ),
        (
            {
                "sample/__init__.py": "with open('x') as f:\n    from .a import Kot",
                "sample/a.py": CLASS,
            },
            "sample.a",
        ),
    ],
)
def test_class_is_found_through_re_exports(
    write: Callable[[dict[str, str]], Path], files: dict[str, str], expected: str
) -> None:
    write(files)
    found = name_of("sample", "Kot")
    assert found is not None
    assert found[0] == expected


@pytest.mark.parametrize(
    "table",
    [
        "T = {'Kot': 'sample.a'}",
        "T = {'Kot': '.a'}",
        "T = {'Kot': 'a'}",
        "T = {'Kot': 'sample.a:Kot'}",
        "T = {'Kot': 'sample.a.Kot'}",
        "T = {'Kot': ('sample.a', 'Kot')}",
        "T = {'a': ['Other', 'Kot']}",
        "T: dict[str, str] = {'Kot': 'sample.a'}",
    ],
)
def test_class_is_found_through_a_lazy_table(
    write: Callable[[dict[str, str]], Path], table: str
) -> None:
    write({"sample/__init__.py": f"{table}\ndef __getattr__(name): ...", "sample/a.py": CLASS})
    assert name_of("sample", "Kot") == ("sample.a", "Kot")


def test_class_is_found_through_an_import_inside_getattr(
    write: Callable[[dict[str, str]], Path],
) -> None:
    body = "if name == 'Kot':\n        from .a import Kot\n        return Kot"
    source = f"def __getattr__(name):\n    {body}"
    write({"sample/__init__.py": source, "sample/a.py": CLASS})
    assert name_of("sample", "Kot") == ("sample.a", "Kot")


def test_table_counts_only_beside_a_module_getattr(write: Callable[[dict[str, str]], Path]) -> None:
    write({"sample/__init__.py": "T = {'Kot': 'sample.a'}", "sample/a.py": CLASS})
    assert name_of("sample", "Kot") is None


def test_later_definition_replaces_an_earlier_one(write: Callable[[dict[str, str]], Path]) -> None:
    write({"sample/__init__.py": "class Kot: a = 1\nclass Kot: b = 2"})
    found = find_attribute("sample", "Kot")
    assert found is not None
    assert found.node.lineno == 2  # type: ignore[attr-defined] # a class statement has a line


@pytest.mark.parametrize(
    "files",
    [
        {"sample/__init__.py": "from .a import Kot", "sample/a.py": "from sample import Kot"},
        {"sample/__init__.py": "Kot = Kot"},
        {"sample/__init__.py": "A = B\nB = A\nKot = A"},
        {"sample/__init__.py": "from .a import *", "sample/a.py": "from sample import *"},
        {"sample/__init__.py": "def ("},
        {"sample/__init__.py": "from .... import Kot"},
        {"sample/__init__.py": "class Kot: ...\ndel Kot"},
        {"sample/__init__.py": "\x00"},
    ],
)
def test_cycle_or_broken_source_finds_nothing(
    write: Callable[[dict[str, str]], Path], files: dict[str, str]
) -> None:
    write(files)
    assert find_attribute("sample", "Kot") is None


def test_nested_class_and_submodule_are_found(write: Callable[[dict[str, str]], Path]) -> None:
    write({"sample/a.py": "class Outer:\n    class Inner: ..."})
    assert name_of("sample", "a.Outer.Inner") == ("sample.a", "Inner")
    found = find_attribute("sample", "a")
    assert found is not None
    assert isinstance(found.node, ast.Module)


def test_module_is_located_without_importing_its_parent(
    write: Callable[[dict[str, str]], Path],
) -> None:
    site = write({"sample/__init__.py": "raise RuntimeError", "sample/a/b.py": CLASS})
    assert locate("sample.a.b") == str(site / "sample/a/b.py")


def test_namespace_package_is_walked(write: Callable[[dict[str, str]], Path]) -> None:
    site = write({"spaces/inner/mod.py": CLASS})
    assert locate("spaces") is None
    assert locate("spaces.inner.mod") == str(site / "spaces/inner/mod.py")


@pytest.mark.parametrize(
    "module", ["no_such_module", "sample.missing", "sys", "os.path.join.x", ""]
)
def test_module_without_source_is_not_located(
    write: Callable[[dict[str, str]], Path], module: str
) -> None:
    write({})
    assert locate(module) is None


def test_stub_beside_a_compiled_module_is_its_source(
    write: Callable[[dict[str, str]], Path],
) -> None:
    suffix = next(s for s in __import__("importlib.machinery").machinery.EXTENSION_SUFFIXES)
    site = write({f"sample/fast{suffix}": "", "sample/fast.pyi": CLASS})
    assert locate("sample.fast") == str(site / "sample/fast.pyi")


def test_changed_file_is_read_again(write: Callable[[dict[str, str]], Path]) -> None:
    write({"sample/a.py": CLASS})
    assert name_of("sample.a", "Kot")
    write({"sample/a.py": "class SomethingElse: ..."})
    assert name_of("sample.a", "Kot") is None


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("__all__ = ['B', '_a']\nclass C: ...", ("B", "_a")),
        ("__all__ = ['B'] + ['C']\n__all__ += ['D']\n__all__.extend(['E'])", ("B", "C", "D", "E")),
        ("import os\nx = 1\n_y = 2\ndef f(): ...\nclass C: ...", ("C", "f", "os", "x")),
        ("from .a import *\nx = 1", ("Kot", "x")),
        ("T = {'Lazy': 'm'}\ndef __getattr__(n): ...", ("Lazy", "T")),
    ],
)
def test_public_names_are_those_of_a_star_import(
    write: Callable[[dict[str, str]], Path], source: str, names: tuple[str, ...]
) -> None:
    write({"sample/__init__.py": source, "sample/a.py": f"{CLASS}_hidden = 1"})
    assert public_names("sample") == names


def test_bases_are_followed_across_modules(write: Callable[[dict[str, str]], Path]) -> None:
    write(
        {
            "sample/a.py": "class Root: ...\nclass Base(Root): key = 'x'",
            "sample/b.py": "from .a import Base\nclass Kot(Base[int]): ...",
        }
    )
    found = find_attribute("sample.b", "Kot")
    assert found is not None
    assert [getattr(c.node, "name", "") for c in base_classes(found)] == ["Kot", "Base", "Root"]
    assert derives_from(found, "Root")
    assert not derives_from(found, "Module")
    attribute = class_attribute(found, "key")
    assert attribute is not None
    assert ast.literal_eval(attribute.node) == "x"


@pytest.mark.parametrize(
    ("target", "module"),
    [
        ("torch.nn:Conv2d", "torch.nn.modules.conv"),
        ("torch.nn:functional", "torch.nn.functional"),
        ("torch.optim:AdamW", "torch.optim.adamw"),
        ("torch.optim.lr_scheduler:StepLR", "torch.optim.lr_scheduler"),
        ("operator:add", "operator"),
    ],
)
def test_targets_of_torch_and_the_standard_library_are_found(target: str, module: str) -> None:
    found = find_attribute(*target.split(":"))
    assert found is not None
    assert found.module == module


def test_function_written_in_c_is_not_found() -> None:
    assert find_attribute("torch", "cat") is None
    assert find_attribute("math", "sqrt") is None


def test_reading_source_imports_nothing() -> None:
    code = (
        "import sys; from policy_constructor.source.static import find_attribute\n"
        "find_attribute('torch.nn', 'LSTM'); find_attribute('torch', 'cat')\n"
        "print(sorted({'torch', 'numpy', 'pydantic', 'importlib.util'} & set(sys.modules)))"
    )
    command = [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"


def test_module_source_is_kept_until_the_file_changes(
    write: Callable[[dict[str, str]], Path],
) -> None:
    write({"sample/a.py": CLASS})
    assert read_module("sample.a") is read_module("sample.a")


def test_name_that_is_too_long_for_a_file_is_not_found() -> None:
    assert find_attribute("torch.optim", "a" * 300) is None


def test_module_that_appears_later_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    assert locate("appears_later") is None
    (tmp_path / "appears_later.py").write_text("x = 1\n")
    assert locate("appears_later") == str(tmp_path / "appears_later.py")
