"""What a wheel file would bring, read from inside it before anything is installed."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from policy_constructor.discovery.metadata import (
    EntryPointRecord,
    normalize_name,
    parse_entry_points,
    scan,
)
from trainer_core.discovery.compatibility import find_mismatches, unmet
from trainer_core.discovery.plugins import Plugins
from trainer_core.errors import UserError

if TYPE_CHECKING:
    from trainer_core.discovery.listing import PluginRecord

__all__ = ["list_wheel"]


def list_wheel(wheel: str) -> list[PluginRecord]:
    """Return what `trainer plugins list` would say of a wheel if it were installed now.

    Raises:
        UserError: The file is not a wheel.
    """
    records, requires = _read(wheel)
    dist = records[0].dist if records else ""
    others = [record for record in scan() if record.dist != dist]
    incompatible = {name: str(found) for name, found in find_mismatches(others).items()}
    mismatch = unmet(requires)
    if mismatch is not None:
        incompatible[dist] = str(mismatch)
    plugins = Plugins([*others, *records], incompatible=incompatible)
    return [row for row in plugins.records() if row.dist == dist]


def _read(wheel: str) -> tuple[list[EntryPointRecord], list[str]]:
    """Return the entry points of a wheel file and what it requires."""
    if Path(wheel).exists() and not Path(wheel).is_file():
        msg = f"{wheel!r} is not a wheel: it is not a file"
        raise UserError(msg)
    try:
        with zipfile.ZipFile(wheel) as archive:
            texts = {
                name.rpartition("/")[2]: archive.read(name).decode("utf-8", "replace")
                for name in archive.namelist()
                if name.count("/") == 1 and ".dist-info/" in name
                if name.endswith(("/METADATA", "/entry_points.txt"))
            }
    except (OSError, zipfile.BadZipFile) as error:
        msg = f"{wheel!r} is not a wheel: {error}"
        raise UserError(msg) from error
    name, _, rest = Path(wheel).name.partition("-")
    dist, version = normalize_name(name), rest.partition("-")[0]
    records = [
        EntryPointRecord(*entry[:3], dist, version, wheel, problem=entry[3])
        for entry in parse_entry_points(texts.get("entry_points.txt", ""))
    ]
    headers = texts.get("METADATA", "").partition("\n\n")[0].splitlines()
    requires = [
        line.partition(":")[2].strip()
        for line in headers
        if line.lower().startswith("requires-dist:")
    ]
    return records, requires
