"""A folder of YAML files to resolve from, and the text of what is wrong with them."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from policy_constructor.config import resolve_config
from policy_constructor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Fail(Protocol):
    """Resolves what cannot be resolved."""

    def __call__(self, source: Any = "exp.yaml", *overrides: str, **options: Any) -> str:
        """Return the rendered problems."""
        ...


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that writes files into the current folder, `exp.yaml` by default."""
    monkeypatch.chdir(tmp_path)

    def write_file(text: str, name: str = "exp.yaml") -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")

    return write_file


@pytest.fixture
def fail() -> Fail:
    """Return a function that resolves and returns the rendered problems."""

    def resolve(source: Any = "exp.yaml", *overrides: str, **options: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            resolve_config(source, overrides, **options)
        return str(caught.value)

    return resolve
