"""`defaults`: which files make up a configuration, and in which order."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, TypeAlias

from policy_constructor.config.memory import from_plain
from policy_constructor.config.node import Mark, Node, Source
from policy_constructor.config.parse import MAX_BYTES, MAX_DEPTH, parse_text
from policy_constructor.config.scalars import kind_of, show
from policy_constructor.spelling import is_slip, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from policy_constructor.config.node import Path
    from policy_constructor.config.report import Report

    FindRecipe: TypeAlias = Callable[[str], FilePath | None]

__all__ = ["Loader", "check_version", "means_defaults"]

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_PYTHON = "<python>"
_SAME_ELSEWHERE = frozenset(
    {"_base_", "_bases_", "base", "bases", "_extends_", "extends", "inherit", "inherits"}
    | {"_include_", "include", "includes", "parent"}
)
"""What other tools call `defaults`."""


class Loader:
    """Reads a file and all that its `defaults` name, each file once.

    Attributes:
        layers: The roots that were read, the lowest layer first.
        sources: Their sources, in the order of reading.
        has_merge: Whether a `_merge_` or `_value_` may occur.
        has_template: Whether a `_template_` may occur.
    """

    def __init__(
        self,
        report: Report,
        find_recipe: FindRecipe | None,
        recipe_names: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.report = report
        self.find_recipe = find_recipe
        self.recipe_names = recipe_names
        self.layers: list[Node] = []
        self.sources: list[Source] = []
        self.has_merge = False
        self.has_template = False
        self._active: dict[str, str] = {}
        self._done: set[str] = set()

    def load(self, source: str | FilePath | Mapping[str, object], outer: Mark | None) -> None:
        """Read the configuration that `source` names or holds; `outer` is where it was named."""
        if not isinstance(source, Mapping):
            self._load_named(str(source), FilePath(), outer, ())
            return
        self.has_merge = self.has_template = True
        where = Source(_PYTHON, included_from=outer, directory=str(FilePath.cwd()))
        self.sources.append(where)
        self._load_layer(from_plain(source, self.report), FilePath())

    def _load_named(self, name: str, directory: FilePath, place: Mark | None, path: Path) -> None:
        """Read the file or recipe called `name`, seen from a directory."""
        file = directory / name
        if not _exists(file):
            recipe = self.find_recipe(name) if self.find_recipe else None
            if recipe is None:
                self._report_missing(name, file, place, path)
                return
            file = recipe
        real = os.path.realpath(file)
        if real in self._active:
            chain = list(self._active.values())[list(self._active).index(real) :]
            message = f"the files include each other: {' -> '.join([*chain, chain[0]])}"
            self.report.add(place, message, path, code="include-cycle")
            self.report.incomplete = True
        elif len(self._active) >= MAX_DEPTH:
            message = f"more than {MAX_DEPTH} files include one another"
            self.report.add(place, message, path, code="too-deep")
        elif real not in self._done:
            self._done.add(real)
            self._load_file(file, real, place, path)

    def _load_file(self, file: FilePath, real: str, place: Mark | None, path: Path) -> None:
        source = Source(os.path.normpath(file), included_from=place)
        source.directory = str(FilePath(source.name).absolute().parent)
        self.sources.append(source)
        root = self._read(file, source, place, path)
        if root is None:
            self.report.incomplete = True
            return
        self._active[real] = source.name
        self._load_layer(root, FilePath(source.name).parent)
        del self._active[real]

    def _read(self, file: FilePath, source: Source, place: Mark | None, path: Path) -> Node | None:
        """Return the root of a file, or None with the reason reported."""
        try:
            data = self._read_bytes(file)
        except OSError as error:
            reason = error.strerror or str(error)
            message = f"cannot read {source.name!r}: {reason}"
            self.report.add(place, message, path, code="unreadable-file")
            return None
        if len(data) > MAX_BYTES:
            message = f"{source.name!r} is larger than {MAX_BYTES} bytes"
            self.report.add(place, message, path, code="too-large")
            return None
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self._report_encoding(data, source, error)
            return None
        source.lines = _LINE_BREAK.split(text)
        self.has_merge = self.has_merge or "_merge_" in text or "_value_" in text
        self.has_template = self.has_template or "_template_" in text
        return parse_text(text, source, self.report)

    @staticmethod
    def _read_bytes(file: FilePath) -> bytes:
        if not file.is_file():  # a folder, or a device that never ends
            message = "it is not a file"
            raise OSError(message)
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)

    def _report_encoding(self, data: bytes, source: Source, error: UnicodeDecodeError) -> None:
        before = data[: error.start].decode("utf-8", "replace").split("\n")
        source.lines = data.decode("utf-8", "replace").split("\n")
        mark = Mark(source, len(before), len(before[-1]) + 1)
        message = f"the file is not UTF-8: byte 0x{data[error.start]:02x} is not text"
        self.report.add(mark, message, code="encoding")

    def _load_layer(self, root: Node, directory: FilePath) -> None:
        """Read what a root includes, then append the root itself."""
        check_version(root, self.report)
        defaults = root.value.pop("defaults", None)
        if defaults is None:
            self.report.incomplete |= any(means_defaults(str(key)) for key in root.value)
        elif defaults.poisoned:
            self.report.incomplete = True
        elif isinstance(defaults.value, list):
            for index, item in enumerate(defaults.value):
                self._load_default(item, directory, ("defaults", index))
        else:
            message = f"expected a list of files, found {kind_of(defaults.value)}"
            self.report.incomplete = True
            self.report.add(defaults.mark, message, ("defaults",), code="wrong-type")
        self.layers.append(root)

    def _load_default(self, item: Node, directory: FilePath, path: Path) -> None:
        name = item.value
        self.report.incomplete |= not isinstance(name, str) or not name or "${" in name
        if item.poisoned:
            return
        if not isinstance(name, str) or not name or "\0" in name:
            found = show(item) if name else "empty text"
            message = f"expected the name of a file or recipe, found {found}"
            self.report.add(item.mark, message, path, code="wrong-type")
        elif "${" in name:
            message = "files are read before references are resolved; write the name itself"
            self.report.add(item.mark, message, path, code="invalid-reference")
        else:
            self._load_named(name, directory, item.mark, path)

    def _report_missing(self, name: str, file: FilePath, place: Mark | None, path: Path) -> None:
        self.report.incomplete = True
        near = [
            entry for entry in _similar(file, self.report) if entry not in self._active.values()
        ]
        prefix = name[: len(name) - len(file.name)]
        self.report.add(
            place,
            f"there is no {'file or recipe' if self.find_recipe else 'file'} {name!r}",
            path,
            code="missing-file",
            suggestions=(*(prefix + entry for entry in near), *nearest(name, self.recipe_names())),
        )


def _similar(file: FilePath, report: Report) -> list[str]:
    """Return the names in a missing file's folder that are spelled like its own."""
    try:
        entries = sorted(entry.name for entry in file.parent.iterdir())
    except OSError:
        return []
    stems = [FilePath(entry).stem for entry in entries]
    close = {file.stem, *report.similar(file.stem, stems)}
    return [entry for entry, stem in zip(entries, stems, strict=True) if stem in close]


def means_defaults(key: str) -> bool:
    """Whether a key is a misspelt `defaults`, or what other tools call it."""
    return key in _SAME_ELSEWHERE or is_slip(key, "defaults")


def check_version(root: Node, report: Report) -> None:
    """Report a `schema_version` that this release does not read."""
    version = root.child("schema_version")
    if version is None or version.poisoned or (type(version.value), version.value) == (int, 1):
        return
    message = f"this release reads schema_version 1, found {show(version)}"
    report.add(version.mark, message, ("schema_version",), code="schema-version")


def _exists(file: FilePath) -> bool:
    try:
        return file.exists()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False
