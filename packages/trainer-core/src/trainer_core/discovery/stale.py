"""Editable installs whose entry points are older than their source; looked at after a miss only."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from policy_constructor.discovery.metadata import direct_url
from trainer_core.discovery.names import COMPONENT_GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from policy_constructor.discovery.metadata import EntryPointRecord

__all__ = ["stale_hint"]


def stale_hint(key: str, kinds: Sequence[str], records: Iterable[EntryPointRecord]) -> str:
    """Return how to install a component that only the source of an editable wheel declares.

    An editable install follows the code, not the entry points: a key that was added to
    `pyproject.toml` since is not found. Empty if no wheel's source declares the key.
    """
    groups = [group for group, of in COMPONENT_GROUPS.items() if set(of) & set(kinds)]
    for dist, path in dict.fromkeys((record.dist, record.path) for record in records):
        source = _editable_source(path)
        if source is None:
            continue
        tables = _entry_points(source)
        if any(key in tables.get(group, {}) for group in groups):
            return (
                f"the source of {dist} declares it, its installation is older: "
                f"pip install --no-deps -e '{source}'"
            )
    return ""


def _editable_source(path: str) -> Path | None:
    """Return the folder an editable distribution was installed from."""
    origin = direct_url(path) or {}
    url = urlsplit(str(origin.get("url", "")))
    is_editable = bool((origin.get("dir_info") or {}).get("editable"))
    return Path(unquote(url.path)) if is_editable and url.scheme == "file" else None


def _entry_points(source: Path) -> dict[str, dict[str, str]]:
    try:
        with (source / "pyproject.toml").open("rb") as file:
            project = tomllib.load(file).get("project", {})
    except (OSError, tomllib.TOMLDecodeError):
        return {}
    tables: dict[str, dict[str, str]] = project.get("entry-points", {})
    return tables
