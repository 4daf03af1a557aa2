"""Files for people to look at: a PNG of plots, or one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING

from trainer_core.errors import StorageError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from experiments_il.commands.figures import Panel

__all__ = ["check_suffix", "embedded", "html_page", "write_file", "write_page"]

_STYLE = (
    "body{font:14px sans-serif;margin:2em;color:#222}pre{font-size:12px}img{max-width:100%}"
    "figure{display:inline-block;margin:0 1em 1em 0;vertical-align:top}"
    "video{max-width:480px;display:block}"
)


def check_suffix(path: Path, known: Sequence[str]) -> None:
    """Check that the name of a file says what to write, and that its folder is there.

    Raises:
        UserError: It does not.
    """
    if path.suffix not in known:
        message = f"{path}: expected a name that ends in {' or '.join(known)}"
        raise UserError(message)
    if not path.parent.is_dir():
        message = f"{path.parent}: no such folder"
        raise UserError(message)


def write_page(path: Path, title: str, text: str, panels: Sequence[Panel], need: str) -> None:
    """Write plots as a PNG, or with their text as HTML.

    Args:
        path: The file.
        title: Of the page.
        text: What is said above the plots.
        panels: The plots.
        need: What they are for, for the message without matplotlib.

    Raises:
        MissingPackageError: matplotlib is not installed.
        StorageError: The file cannot be written.
    """
    from experiments_il.commands.figures import to_png

    picture = to_png(panels, need)
    if path.suffix == ".png":
        write_file(path, picture)
        return
    body = f'<pre>{html.escape(text)}</pre><img alt="plots" src="{embedded(picture, "image/png")}">'
    write_file(path, html_page(title, body))


def html_page(title: str, body: str) -> bytes:
    """Return an HTML document."""
    name = html.escape(title)
    return (
        f'<!doctype html><html><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{name}</h1>{body}</body></html>\n"
    ).encode()


def embedded(content: bytes, kind: str) -> str:
    """Return content as an address that a page can show without the file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def write_file(path: Path, content: bytes) -> None:
    """Write a file.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        message = f"{path}: cannot be written: {error.strerror or error}"
        raise StorageError(message) from error
