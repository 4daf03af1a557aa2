"""Wheels that exist only as metadata, and an experiment file that has no mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

FakeWheel = Callable[..., Path]


@pytest.fixture
def fake_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeWheel:
    """Install a wheel: entry points by group, and modules by file name."""

    def install(
        name: str,
        groups: Mapping[str, Mapping[str, str]],
        modules: Mapping[str, str] | None = None,
        version: str = "1.0",
    ) -> Path:
        site = tmp_path / f"site-{name}"
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = []
        for group, entries in groups.items():
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for file, text in (modules or {}).items():
            (site / file).write_text(text)
        monkeypatch.syspath_prepend(site)
        return site

    return install
