"""Whether blocks read their pretrained weights while they are built."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["is_pretrained_wanted", "without_pretrained"]

_wanted = ContextVar("pretrained_wanted", default=True)


@contextmanager
def without_pretrained() -> Iterator[None]:
    """Build blocks whose weights are about to be replaced: they leave pretrained files unread.

    So a saved policy loads on a machine that never had the files it was trained from.
    """
    token = _wanted.set(False)
    try:
        yield
    finally:
        _wanted.reset(token)


def is_pretrained_wanted() -> bool:
    """Return whether a block that is being built should read its pretrained weights."""
    return _wanted.get()
