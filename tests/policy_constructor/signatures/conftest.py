"""Signatures of classes that a test writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from policy_constructor.signatures.signature import Signature, read_signature

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def signature_of(import_path: Path) -> Callable[[str], Signature | None]:
    """Return a function that reads the signature of `Kot` in some source."""

    def read(source: str) -> Signature | None:
        (import_path / "sample_kot.py").write_text(source)
        return read_signature("sample_kot:Kot")

    return read
