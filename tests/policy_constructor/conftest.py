"""Fake installed wheels and modules."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class WriteWheel(Protocol):
    """Writes a `dist-info` folder and its modules as an installer would."""

    def __call__(
        self,
        name: str,
        entry_points: str,
        *,
        version: str = "1.0",
        modules: dict[str, str] | None = None,
        site: str = "site",
        metadata: bool = True,
    ) -> Path:
        """Return the folder to put on the path."""
        ...


@pytest.fixture
def write_wheel(tmp_path: Path) -> WriteWheel:
    """Return a function that writes one wheel below `tmp_path`."""

    def write(
        name: str,
        entry_points: str,
        *,
        version: str = "1.0",
        modules: dict[str, str] | None = None,
        site: str = "site",
        metadata: bool = True,
    ) -> Path:
        folder = tmp_path / site
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "entry_points.txt").write_text(entry_points)
        if metadata:
            text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            (info / "METADATA").write_text(text)
        for module, source in (modules or {}).items():
            (folder / f"{module}.py").write_text(source)
        return folder

    return write


@pytest.fixture
def import_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Put `tmp_path/site` on `sys.path` and forget the modules imported from it afterwards."""
    site = tmp_path / "site"
    site.mkdir(exist_ok=True)
    monkeypatch.syspath_prepend(str(site))
    yield site
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(site)):
            del sys.modules[name]
