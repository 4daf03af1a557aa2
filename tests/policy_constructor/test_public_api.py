"""What `import policy_constructor` offers, and what it must not import."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import policy_constructor
from policy_constructor.discovery.registry import blocks_registry, ops_registry

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "model-files.md"
SOURCES = Path(policy_constructor.__file__).parent
LIGHT = [
    "",
    ".errors",
    ".config",
    ".graph.compiler",
    ".discovery.registry",
    ".signatures.signature",
]


def test_all_is_sorted_and_complete() -> None:
    names = policy_constructor.__all__
    assert names == sorted(names)
    assert set(names) <= set(dir(policy_constructor))
    assert all(getattr(policy_constructor, name) is not None for name in names)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'build_models'"):
        _ = policy_constructor.build_models


def test_compiling_imports_neither_torch_nor_numpy() -> None:
    code = "\n".join(
        [
            "import sys",
            *(f"import policy_constructor{name}" for name in LIGHT),
            "from policy_constructor import compile_graph, GraphIR, resolve_config",
            "layers = [{'_type_': 'mlp', 'dims': [2, 3]}, {'_type_': 'nn.ReLU'}]",
            "compile_graph({'model': {'sequential': {'layers': layers}}})",
            "print(sorted({'torch', 'numpy'} & set(sys.modules)))",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_block_and_op_is_documented() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    refs = [*blocks_registry().refs(), *ops_registry().refs()]
    own = [ref.key for ref in refs if ref.dist == "policy-constructor"]
    assert len(own) == 15
    assert [key for key in own if f"`{key}`" not in text] == []


def test_every_code_of_a_mistake_is_documented() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    modules = [*(SOURCES / "graph").glob("*.py"), SOURCES / "lazy.py"]
    source = "".join(module.read_text(encoding="utf-8") for module in modules)
    codes = set(re.findall(r'code="([a-z-]+)"', source))
    assert sorted(code for code in codes if f"`{code}`" not in text) == []
