"""Where an editable install takes its code from."""

# pathlib costs more than the answer, and listing may ask for every wheel.
# ruff: noqa: PTH110, PTH118

from __future__ import annotations

import os

from policy_constructor.discovery.metadata import direct_url

__all__ = ["editable_source"]


def editable_source(path: str) -> str:
    """Return the folder that a metadata folder's wheel was installed from as editable, or ''."""
    origin_file = os.path.join(path, "direct_url.json")
    if not os.path.exists(origin_file):
        return ""
    origin = direct_url(path) or {}
    url = str(origin.get("url", ""))
    is_editable = bool((origin.get("dir_info") or {}).get("editable"))
    if not is_editable or not url.startswith("file://"):
        return ""
    plain = url.removeprefix("file://").removeprefix("localhost")
    if "%" not in plain:
        return plain
    from urllib.parse import unquote  # noqa: PLC0415 - few paths need it

    return unquote(plain)
