"""The value of `a.b=@file`: a YAML value, or the text of any other file."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from policy_constructor.config.node import Mark, Node, Source
from policy_constructor.config.parse import MAX_BYTES, parse_value
from policy_constructor.config.references import escape

if TYPE_CHECKING:
    from policy_constructor.config.node import Path
    from policy_constructor.config.report import Report

__all__ = ["read_value_file"]

_YAML = frozenset({".json", ".yaml", ".yml"})


def read_value_file(name: str, place: Mark, path: Path, report: Report) -> Node | None:
    """Return the value that a file holds, with its places there; None after a report.

    A `.yaml`, `.yml` or `.json` file holds any one YAML value. Any other file is text: its last
    line break is left out, and nothing in it is taken for a reference.

    Args:
        name: The file, relative to the working folder.
        place: Where it is named.
        path: The key that takes the value.
        report: Receives the problems.
    """
    file = FilePath(name)
    try:
        data = _read(file)
        text = data.decode("utf-8-sig")
    except OSError as error:
        message = f"cannot read {name!r}: {error.strerror or error}"
        report.add(place, message, path, code="unreadable-file")
        return None
    except UnicodeDecodeError as error:
        message = f"{name!r} is not UTF-8: byte 0x{error.object[error.start]:02x} is not text"
        report.add(place, message, path, code="encoding")
        return None
    if len(data) > MAX_BYTES:
        message = f"{name!r} is larger than {MAX_BYTES} bytes"
        report.add(place, message, path, code="too-large")
        return None
    source = Source(name, text.splitlines(), place, str(file.absolute().parent))
    if file.suffix in _YAML:
        return parse_value(text, source, report, 1, 1)
    lines = source.lines or [""]
    end = Mark(source, 1, 1, len(lines), len(lines[-1]) + 1)
    return Node(escape(text.removesuffix("\n").removesuffix("\r")), end)


def _read(file: FilePath) -> bytes:
    if file.exists() and not file.is_file():  # a folder, or a device that never ends
        message = "it is not a file"
        raise OSError(message)
    with file.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)
