"""Keeps secrets of the configuration out of what is sent or shown."""

from __future__ import annotations

from typing import Any

__all__ = ["without_secrets"]

_SECRET_WORDS = ("api_key", "apikey", "secret", "password")


def without_secrets(value: Any) -> Any:
    """Return the configuration with the values of keys such as `api_key` left out."""
    if isinstance(value, dict):
        return {
            key: "<secret>" if _is_secret(key) else without_secrets(child)
            for key, child in value.items()
        }
    return [without_secrets(child) for child in value] if isinstance(value, list) else value


def _is_secret(key: Any) -> bool:
    """Whether a key names a secret; `num_tokens` and `tokenizer` do not."""
    name = str(key).lower()
    return name.endswith("token") or any(word in name for word in _SECRET_WORDS)
