from __future__ import annotations

import inspect
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from policy_constructor.discovery.registry import blocks_registry
from policy_constructor.signatures.signature import Parameter, Signature, read_signature
from policy_constructor.source.static import public_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def known(signature: Signature | None) -> Signature:
    assert signature is not None
    return signature


def outline(signature: Signature | None) -> str:
    """Return `a, b=1, *, c=None, **` for a signature."""
    found = known(signature)
    parts: list[str] = []
    for parameter in found.parameters.values():
        if parameter.kind == "keyword-only" and "*" not in parts:
            parts.append("*")
        parts.append(
            parameter.name + ("" if parameter.required else f"={parameter.default_source}")
        )
        if parameter.kind == "positional-only":
            parts.append("/")
    star = ["*args"] if found.accepts_any_positional else []
    return ", ".join([*parts, *star, *(["**"] if found.accepts_any_keyword else [])])


CLASSES = [
    ("class Kot: ...", ""),
    ("class Kot:\n  def __init__(self): ...", ""),
    ("class Kot:\n  def __init__(self, a, b=1, *, c, d=None): ...", "a, b=1, *, c, d=None"),
    ("class Kot:\n  def __init__(self, a, /, b): ...", "a, /, b"),
    ("class Kot:\n  def __init__(self, a, *args, **kw): ...", "a, *args, **"),
    ("class Kot:\n  def __new__(cls, a): ...", "a"),
    ("class B:\n  def __init__(self, a): ...\nclass Kot(B): ...", "a"),
    ("class Kot(Missing): ...", None),
    ("def Kot(a, b=2): ...", "a, b=2"),
    ("async def Kot(a, b=2): ...", None),
    ("Kot = 3", None),
    ("Kot = lambda a: a", None),
    # **kwargs handed on
    (
        (
            "class B:\n  def __init__(self, a, b=1): ...\n"
            "class Kot(B):\n  def __init__(self, c, **kw):\n    super().__init__(**kw)"
        ),
        "c, *, a, b=1",
    ),
    (
        (
            "class B:\n  def __init__(self, a, b=1): ...\n"
            "class Kot(B):\n  def __init__(self, *args, c=0, **kw):\n"
            "    super().__init__(*args, **kw)"
        ),
        "*, c=0, a, b=1",
    ),
    (
        (
            "class B:\n  def __init__(self, a, b=1, c=2): ...\n"
            "class Kot(B):\n  def __init__(self, **kw):\n    super().__init__(3, b=4, **kw)"
        ),
        "*, c=2",
    ),
    (
        (
            "class B:\n  def __init__(self, a, b=1): ...\n"
            "class Kot(B):\n  def __init__(self, **kw):\n    B.__init__(self, **kw)"
        ),
        "*, a, b=1",
    ),
    (
        (
            "class B:\n  def __init__(self, a): ...\nclass Kot(B):\n  def __init__(self, **kw):\n"
            "    x = kw.pop('x', 1)\n    super().__init__(**kw)"
        ),
        "*, x=, a",
    ),
    (
        (
            "class B:\n  def __init__(self, a): ...\nclass Kot(B):\n  def __init__(self, **kw):\n"
            "    log(kw)\n    super().__init__(**kw)"
        ),
        "**",
    ),
    ("class Kot(Missing):\n  def __init__(self, a, **kw):\n    super().__init__(**kw)", "a, **"),
    ("class Kot:\n  def __init__(self, a, **kw):\n    super().__init__(**kw)", "a"),
    # overloads
    (
        (
            "from typing import overload\nclass Kot:\n  @overload\n"
            "  def __init__(self, a: int): ...\n"
            "  @overload\n  def __init__(self, a: str, b: int): ...\n"
            "  def __init__(self, *args, **kw): ..."
        ),
        "a, b=",
    ),
    (
        (
            "from typing import overload\nclass Kot:\n  @overload\n"
            "  def __init__(self, a: int): ...\n"
            "  def __init__(self, a, c=1): ..."
        ),
        "a, c=1",
    ),
    # fields
    (
        (
            "from dataclasses import dataclass, field\n@dataclass\nclass Kot:\n  a: int\n"
            "  b: int = 1\n"
            "  c: list[int] = field(default_factory=list)\n  d: int = field(init=False)\n"
            "  e: ClassVar[int] = 3\n  f = 4"
        ),
        "a, b=1, c=list",
    ),
    (
        "import dataclasses\n@dataclasses.dataclass(kw_only=True)\nclass Kot:\n  a: int\n",
        "*, a",
    ),
    (
        (
            "from dataclasses import dataclass, KW_ONLY\n@dataclass\nclass Kot:\n  a: int\n"
            "  _: KW_ONLY\n  b: int = 1"
        ),
        "a, *, b=1",
    ),
    (
        (
            "from dataclasses import dataclass\n@dataclass\nclass B:\n  a: int\n"
            "@dataclass\nclass Kot(B):\n  b: int = 1"
        ),
        "a, b=1",
    ),
    (
        (
            "from dataclasses import dataclass\n@dataclass\nclass B:\n  a: int\n"
            "class Kot(B):\n  b: int"
        ),
        "a",
    ),
    ("from typing import NamedTuple\nclass Kot(NamedTuple):\n  a: int\n  b: int = 1", "a, b=1"),
    (
        "import attrs\n@attrs.define\nclass Kot:\n  a: int\n  b: int = attrs.field(default=1)",
        "a, b=1",
    ),
    ("class Kot(Kot): ...", None),
]


@pytest.mark.parametrize(("source", "expected"), CLASSES)
def test_constructor_is_read_from_source(
    signature_of: Callable[[str], Signature | None], source: str, expected: str | None
) -> None:
    found = signature_of(source)
    assert (None if found is None else outline(found)) == expected
    assert "sample_kot" not in sys.modules


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("torch.nn:Linear", "in_features, out_features, bias=True, device=None, dtype=None"),
        ("torch.nn:Tanh", ""),
        (
            "torch.nn:LSTM",
            (
                "input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,"
                " bidirectional=False, proj_size=0, device=None, dtype=None"
            ),
        ),
        (
            "torch.optim.lr_scheduler:CosineAnnealingLR",
            "optimizer, T_max, eta_min=0.0, last_epoch=-1",
        ),
        ("operator:add", "a, b"),
    ],
)
def test_outline_of_installed_targets(target: str, expected: str) -> None:
    assert outline(read_signature(target)) == expected


@pytest.mark.parametrize(
    ("target", "name", "expected"),
    [
        ("torch.nn:Conv2d", "kernel_size", "int | tuple[int, int]"),
        ("torch.nn:Conv2d", "padding", "str | int | tuple[int, int]"),
        ("torch.nn:Conv2d", "padding_mode", "Literal['zeros', 'reflect', 'replicate', 'circular']"),
        ("torch.nn:Linear", "in_features", "int"),
        ("torch.nn:CrossEntropyLoss", "weight", "Tensor | None"),
        ("torch.optim:AdamW", "lr", "float | Tensor"),
        ("torch.optim:AdamW", "betas", "tuple[float | Tensor, float | Tensor]"),
        ("torch.optim:AdamW", "foreach", "bool | None"),
        ("torch.nn:BatchNorm2d", "momentum", "float | None"),
        ("torch.nn:TransformerEncoderLayer", "activation", "str | Callable"),
    ],
)
def test_types_of_torch_parameters(target: str, name: str, expected: str) -> None:
    from policy_constructor.signatures.value_words import type_text

    assert type_text(known(read_signature(target)).parameters[name].annotation) == expected


@pytest.mark.parametrize(
    "target", ["torch:cat", "math:sqrt", "no_module:X", "torch.nn:Nope", "torch.nn"]
)
def test_target_without_source_has_no_signature(target: str) -> None:
    assert read_signature(target) is None


TORCH_CLASSES = [
    (module, name)
    for module in ("torch.nn", "torch.optim", "torch.optim.lr_scheduler")
    for name in public_names(module)
    if name[0].isupper() and not name.startswith(("Any", "Counter", "Literal", "Self", "Supports"))
]


def test_every_torch_class_reads_as_python_sees_it() -> None:
    import importlib

    differing = []
    for module, name in TORCH_CLASSES:
        found = read_signature(f"{module}:{name}")
        actual = inspect.signature(getattr(importlib.import_module(module), name))
        names = [p.name for p in actual.parameters.values() if p.kind not in {2, 4}]
        if found is not None and names and list(found.parameters) != names:
            differing.append(name)
    assert differing == []


def test_reference_is_read_like_its_target() -> None:
    ref = blocks_registry().ref("nn.Linear")
    assert read_signature(ref) is read_signature("torch.nn:Linear")


def test_docs_and_defaults_come_from_the_docstring(
    signature_of: Callable[[str], Signature | None],
) -> None:
    source = (
        'class Kot:\n    """Optimal transport loss.\n\n    Args:\n        a (int): First, and\n'
        "            longer.\n        b: Second: with a colon.\n\n"
        '    Note:\n        c: no.\n    """\n'
        "    def __init__(self, a: int, b: float = 2 ** 0.5, c=[1]): ...\n"
    )
    found = known(signature_of(source))
    assert found.doc == "Optimal transport loss."
    assert [p.doc for p in found.parameters.values()] == [
        "First, and longer.",
        "Second: with a colon.",
        "",
    ]
    assert [p.default for p in found.parameters.values()] == [None, None, [1]]
    assert found.parameters["b"].default_source == "2 ** 0.5"


MODEL = """
from pydantic import BaseModel, Field
class Model(BaseModel):
    'How KOT is tuned.'
    iters: int = Field(20, ge=1, description='Sinkhorn iterations.')
    dims: list[int]
"""


def test_named_params_model_is_imported(
    signature_of: Callable[[str], Signature | None], import_path: Path
) -> None:
    (import_path / "kot_params.py").write_text(MODEL)
    found = known(
        signature_of(
            "class Kot:\n    Params = 'kot_params:Model'\n    def __init__(self, **kw): ..."
        )
    )
    assert outline(found) == "*, iters=20, dims"
    assert found.parameters["iters"].doc == "Sinkhorn iterations."
    assert found.doc == "How KOT is tuned."
    assert found.model is sys.modules["kot_params"].Model


def test_nested_params_model_is_read_from_source(
    signature_of: Callable[[str], Signature | None],
) -> None:
    source = (
        "from pydantic import BaseModel, Field\nclass Kot:\n  class Params(BaseModel):\n"
        "    iters: int = Field(20, ge=1, description='Iterations.')\n    dims: list[int]\n"
        "  def __init__(self, **kw): ..."
    )
    found = known(signature_of(source))
    assert outline(found) == "*, iters=20, dims"
    assert found.parameters["iters"].doc == "Iterations."
    assert "sample_kot" not in sys.modules


def test_params_model_that_fails_to_import_is_named(
    signature_of: Callable[[str], Signature | None],
) -> None:
    found = known(signature_of("class Kot:\n    Params = 'no_such_params:Model'"))
    assert found.problem == (
        "its parameter model 'no_such_params:Model' cannot be used:"
        " ModuleNotFoundError: No module named 'no_such_params'"
    )


def test_reading_signatures_imports_neither_torch_nor_pydantic() -> None:
    code = (
        "import sys; from policy_constructor.signatures.signature import read_signature as r\n"
        "[r(t) for t in ('torch.nn:Conv2d', 'torch.optim:AdamW', 'torch:cat', 'operator:add')]\n"
        "print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"


def test_parameter_is_a_plain_value() -> None:
    assert Parameter("a") == Parameter("a")
    assert Signature() == Signature({})
