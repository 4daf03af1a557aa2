"""What `import policy_constructor` offers, and what it must not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import policy_constructor

LIGHT = [
    "",
    ".errors",
    ".config",
    ".ir",
    ".names",
    ".calls",
    ".schema",
    ".settings",
    ".forward",
    ".specs",
    ".linker",
    ".compiler",
    ".registry",
    ".signature",
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
