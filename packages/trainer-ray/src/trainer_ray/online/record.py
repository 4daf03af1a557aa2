"""Bytes of the records of a segment: a header with lengths and hashes, then plain numbers.

A record is whole or it is not there: its header and its payload each have a sha256. The header also
says where it stands, so that bytes that merely look like one are not taken for a record.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, NamedTuple

from trainer_core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EPISODES", "HEADER_BYTES", "LEDGER", "Cut", "Record", "encode", "read_records"]

LEDGER, EPISODES = 1, 2
"""Kinds of records: what is known so far; what was added."""

_MAGIC = b"trreplay"
_VERSION = 1
_FIELDS = struct.Struct("<8sIIQQQ32s")  # magic, version, kind, segment, offset, bytes, sha256
_HASH_BYTES = 32
HEADER_BYTES = _FIELDS.size + _HASH_BYTES


class Record(NamedTuple):
    """A record that is whole.

    Attributes:
        kind: `LEDGER` or `EPISODES`.
        offset: Where its header begins.
        payload: What it holds.
    """

    kind: int
    offset: int
    payload: memoryview


class Cut(NamedTuple):
    """Bytes of a segment that are no whole record.

    Attributes:
        offset: Where they begin.
        end: Where the next record begins, or the file ends.
        is_unfinished: Whether they are what a write leaves that was cut off: the beginning of a
            record, up to the end of the file.
    """

    offset: int
    end: int
    is_unfinished: bool


class _Header(NamedTuple):
    version: int
    kind: int
    payload_bytes: int
    digest: bytes


def encode(kind: int, segment: int, offset: int, payload: bytes) -> bytes:
    """Return the header of a payload that is to stand at an offset of a segment."""
    digest = hashlib.sha256(payload).digest()
    fields = _FIELDS.pack(_MAGIC, _VERSION, kind, segment, offset, len(payload), digest)
    return fields + hashlib.sha256(fields).digest()


def read_records(data: memoryview, segment: int) -> Iterator[Record | Cut]:
    """Yield the records of a segment and what lies between them, in order.

    Raises:
        UserError: A record was written by a newer version.
    """
    offset = 0
    while offset < len(data):
        header = _header_at(data, offset, segment)
        if header is None:
            end = _next_header(data, offset + 1, segment)
            yield Cut(offset, end, is_unfinished=_is_beginning(data[offset:end]))
            offset = end
            continue
        begin = offset + HEADER_BYTES
        end = begin + header.payload_bytes
        if end > len(data):
            yield Cut(offset, len(data), is_unfinished=True)
            return
        payload = data[begin:end]
        if hashlib.sha256(payload).digest() == header.digest:
            yield Record(header.kind, offset, payload)
        else:
            yield Cut(offset, end, is_unfinished=False)
        offset = end


def _header_at(data: memoryview, offset: int, segment: int) -> _Header | None:
    raw = bytes(data[offset : offset + HEADER_BYTES])
    if len(raw) < HEADER_BYTES or not raw.startswith(_MAGIC):
        return None
    fields = raw[: _FIELDS.size]
    if hashlib.sha256(fields).digest() != raw[_FIELDS.size :]:
        return None
    _, version, kind, its_segment, its_offset, size, digest = _FIELDS.unpack(fields)
    if (its_segment, its_offset) != (segment, offset):
        return None
    if version > _VERSION:
        msg = (
            f"the replay buffer's segment {segment} was written by a newer trainer-ray (format "
            f"{version}; this one reads {_VERSION}): upgrade trainer-ray to use it"
        )
        raise UserError(msg)
    return _Header(version, kind, size, digest)


def _next_header(data: memoryview, offset: int, segment: int) -> int:
    """Return where the next header begins that is whole; the end of the file if there is none."""
    content = bytes(data[offset:])
    found = content.find(_MAGIC)
    while found >= 0:
        if _header_at(data, offset + found, segment) is not None:
            return offset + found
        found = content.find(_MAGIC, found + 1)
    return len(data)


def _is_beginning(rest: memoryview) -> bool:
    """Return whether bytes at the end of a file are a header that was cut off."""
    return len(rest) < HEADER_BYTES and _MAGIC.startswith(bytes(rest[: len(_MAGIC)]))
