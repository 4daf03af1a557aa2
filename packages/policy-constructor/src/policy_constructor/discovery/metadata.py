"""Installed distributions -> entry points of our groups; nothing of a plugin is imported.

A raw scan of the `dist-info` folders on `sys.path`: two orders of magnitude cheaper than the
standard library's API, whose import alone takes longer than reading 200 distributions here. That
API is only asked about what is not a plain folder: zip files and finders of other packages.
"""

# pathlib costs more than the whole scan.
# ruff: noqa: PTH116, PTH118, PTH119, PTH123, PTH208

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "GROUP_PREFIXES",
    "EntryPointRecord",
    "direct_url",
    "normalize_name",
    "parse_entry_points",
    "read_headers",
    "scan",
]

GROUP_PREFIXES = ("policy_constructor.", "trainer_core.")

_MARKERS = tuple(prefix.encode() for prefix in GROUP_PREFIXES)


class EntryPointRecord(NamedTuple):
    """One line of an installed `entry_points.txt`.

    Attributes:
        group: Entry-point group, such as `trainer_core.losses`.
        name: Name in that group, such as `l2` or `nn.*`; of a malformed line its text.
        value: `module:attribute` or `module`, without extras.
        dist: Name of the distribution as PEP 503 normalises it (`experiments-il`).
        version: Version of the distribution; empty when it is not known.
        path: The `dist-info` folder, or what else the record was read from.
        shadowed: A distribution of the same name comes earlier on `sys.path`.
        problem: What is wrong with the line, for one that cannot be used.
    """

    group: str
    name: str
    value: str
    dist: str
    version: str
    path: str
    shadowed: bool = False
    problem: str | None = None


class _Distribution(NamedTuple):
    """A metadata folder, before anything in it was opened."""

    dist: str
    version: str
    path: str
    place: int
    api_object: Any = None


def scan(paths: Sequence[str] | None = None) -> list[EntryPointRecord]:
    """Return the entry points of our groups, sorted by distribution, group and name.

    Of two distributions with one name the first on the path counts, one with a METADATA file before
    one without, the higher version within a folder; the records of the others are `shadowed`.
    The result does not depend on the order in which a folder lists its entries.

    Args:
        paths: Folders to look in, in the place of `sys.path`; finders of other packages are then
            left out.
    """
    groups: dict[str, list[_Distribution]] = {}
    for found in _distributions(sys.path if paths is None else paths, custom=paths is None):
        groups.setdefault(found.dist, []).append(found)
    records: list[EntryPointRecord] = []
    for same_name in groups.values():
        if len(same_name) > 1:
            same_name.sort(key=_rank)
        for position, found in enumerate(same_name):
            records += _read(found, shadowed=position > 0)
    records.sort(key=lambda r: (r.dist, r.group, r.name, r.shadowed, r.version, r.path, r.value))
    return records


def parse_entry_points(text: str) -> Iterator[tuple[str, str, str, str | None]]:
    """Yield (group, name, value, problem) for the lines of our groups, in file order.

    A line that is not `name = module:attribute` is yielded with its text as the name and a problem;
    lines of other groups are passed over.
    """
    group = ""
    seen: dict[tuple[str, str], str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            group = line.strip("[]").strip()
            if not line.endswith("]") and group.startswith(GROUP_PREFIXES):
                yield group, line, "", f"line {number} of entry_points.txt lacks a closing bracket"
            continue
        if not group.startswith(GROUP_PREFIXES):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        target = value.partition("[")[0].strip()
        if not equals or not name or not _is_reference(target):
            problem = f"line {number} of entry_points.txt is not 'name = module:attribute'"
            yield group, name or line, value, problem
        elif seen.setdefault((group, name), target) != target:
            problem = f"line {number} of entry_points.txt declares {name!r} a second time"
            yield group, name, target, problem
        else:
            yield group, name, _without_blanks(target), None


def normalize_name(name: str) -> str:
    """Return a distribution's name as PEP 503 spells it: lower case, `-` for `-`, `_` and `.`."""
    words = name.lower().replace("_", "-").replace(".", "-").split("-")
    return "-".join(word for word in words if word)


def read_headers(path: str) -> dict[str, list[str]]:
    """Return the headers of the METADATA (or PKG-INFO) file in a metadata folder.

    Names are lower case; the values of a repeated header, such as `requires-dist`, are in file
    order. A folder without such a file has no headers.
    """
    headers: dict[str, list[str]] = {}
    for line in _metadata_text(path).splitlines():
        if not line.strip():
            break
        name, colon, value = line.partition(":")
        if colon and not line[0].isspace():
            headers.setdefault(name.lower(), []).append(value.strip())
    return headers


def direct_url(path: str) -> dict[str, Any] | None:
    """Return the `direct_url.json` of a metadata folder (editable, VCS commit), or None."""
    import json  # noqa: PLC0415 - listing components does not need it

    try:
        with open(os.path.join(path, "direct_url.json"), "rb") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _distributions(paths: Iterable[object], *, custom: bool) -> Iterator[_Distribution]:
    """Yield each distribution of each distinct folder, in the order of the path."""
    seen: set[tuple[int, int]] = set()
    for place, path in enumerate(paths):
        if not isinstance(path, str):
            continue
        folder = path or "."
        try:
            status = os.stat(folder)
        except OSError:
            continue
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            continue
        seen.add(identity)
        try:
            names = os.listdir(folder)
        except NotADirectoryError:
            yield from _through_api(_api_distributions(path=[folder]), place)
        except OSError:
            continue
        else:
            yield from _in_folder(folder, names, place)
    if custom:
        for finder in sys.meta_path:
            yield from _of_custom_finder(finder)


def _in_folder(folder: str, names: list[str], place: int) -> Iterator[_Distribution]:
    """Yield the distributions among a folder's entries."""
    is_egg = folder.lower().endswith(".egg")
    for name in names:
        low = name.lower()
        if low.endswith((".dist-info", ".egg-info")):
            stem, _, version = name.rpartition(".")[0].partition("-")
        elif is_egg and low == "egg-info":
            stem, _, version = os.path.basename(folder)[:-4].partition("-")
        else:
            continue
        if not low.endswith(".dist-info"):
            version = version.partition("-")[0]
        yield _Distribution(normalize_name(stem), version, f"{folder}{os.sep}{name}", place)


def _read(found: _Distribution, *, shadowed: bool) -> Iterator[EntryPointRecord]:
    """Yield the records of one distribution."""
    if found.api_object is not None:
        data = (found.api_object.read_text("entry_points.txt") or "").encode()
    else:
        data = _read_bytes(found.path, "entry_points.txt")
    if not any(marker in data for marker in _MARKERS):
        return
    dist, version, path = found.dist, found.version, found.path
    if not version:
        version = (read_headers(path).get("version") or [""])[0]
    for group, name, value, problem in parse_entry_points(data.decode("utf-8", "replace")):
        yield EntryPointRecord(group, name, value, dist, version, path, shadowed, problem)


def _read_bytes(path: str, name: str) -> bytes:
    try:
        with open(f"{path}{os.sep}{name}", "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


def _metadata_text(path: str) -> str:
    data = _read_bytes(path, "METADATA") or _read_bytes(path, "PKG-INFO")
    return data.decode("utf-8", "replace")


def _rank(found: _Distribution) -> tuple[Any, ...]:
    """Return a key that sorts the one of several equal names that counts to the front."""
    newest_first = tuple((-number, text) for number, text in _version_key(found.version))
    return _lacks_metadata(found), found.place, newest_first, found.path


def _lacks_metadata(found: _Distribution) -> bool:
    """Whether a folder is what a failed uninstallation leaves behind."""
    files = [os.path.join(found.path, name) for name in ("METADATA", "PKG-INFO")]
    return found.api_object is None and not any(map(os.path.isfile, [found.path, *files]))


def _of_custom_finder(finder: Any) -> Iterator[_Distribution]:
    """Yield what a finder of another package knows; the two standard ones read plain folders."""
    find = getattr(finder, "find_distributions", None)
    owner = getattr(finder, "__module__", "") or ""
    if find is None or owner.startswith(("importlib", "_frozen_importlib")):
        return
    try:
        context = _importlib_metadata().DistributionFinder.Context()
        yield from _through_api(find(context), sys.maxsize)
    except Exception:  # noqa: BLE001 - a stranger's finder must not break the listing
        return


def _through_api(distributions: Iterable[Any], place: int) -> Iterator[_Distribution]:
    for found in distributions:
        path = str(getattr(found, "_path", "") or found)
        try:
            dist, version = found.metadata["Name"], found.metadata["Version"]
        except Exception:  # noqa: BLE001 - broken metadata of a stranger's wheel
            dist = version = ""
        stem, _, from_name = os.path.basename(path).rpartition(".")[0].partition("-")
        yield _Distribution(normalize_name(dist or stem), version or from_name, path, place, found)


def _api_distributions(path: list[str]) -> Iterable[Any]:
    api = _importlib_metadata()
    found: Iterable[Any] = api.MetadataPathFinder.find_distributions(
        api.DistributionFinder.Context(path=path)
    )
    return found


def _importlib_metadata() -> Any:
    import importlib_metadata  # noqa: PLC0415 - it costs more than the whole scan

    return importlib_metadata


def _is_reference(text: str) -> bool:
    """Whether a text is `module` or `module:attribute`, both dotted names."""
    module, colon, attribute = (part.strip() for part in text.partition(":"))
    parts = module.split(".") + (attribute.split(".") if colon else [])
    return all(part.isidentifier() for part in parts)


def _without_blanks(target: str) -> str:
    return ":".join(part.strip() for part in target.split(":"))


def _version_key(version: str) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts 1.10 after 1.9."""
    parts = version.replace("-", ".").replace("+", ".").split(".")
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)
