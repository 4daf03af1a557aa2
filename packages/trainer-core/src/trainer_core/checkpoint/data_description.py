"""What a data set's batches look like, as a checkpoint tells whoever uses its policy."""

from __future__ import annotations

from typing import Any

__all__ = ["describe_data", "described_keys"]


def describe_data(dataset: Any) -> dict[str, Any]:
    """Return the keys of a data set's batches and its rate, as far as it tells, as JSON data.

    Args:
        dataset: What the factory built. Both attributes are optional: `features`, which maps a
            key to something with `shape` (without the batch dimension) and `dtype` (a name of
            torch's), and `fps`, frames per second.

    Returns:
        `{"keys": {key: {"shape": [...], "dtype": "float32"}}, "fps": 80.0 or None}`.
    """
    features = getattr(dataset, "features", None) or {}
    keys = {
        str(key): {
            "shape": [int(size) for size in spec.shape],
            "dtype": str(spec.dtype).removeprefix("torch."),
        }
        for key, spec in features.items()
    }
    fps = getattr(dataset, "fps", None)
    return {"keys": keys, "fps": None if fps is None else float(fps)}


def described_keys(data: dict[str, Any], norm_stats: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return shape and dtype by batch key, from the statistics where a data set told none.

    Args:
        data: What `describe_data` returned, or nothing where a checkpoint has none.
        norm_stats: Statistics by batch key.
    """
    guessed = {
        key: {
            "shape": _shape(next((v for v in entry.values() if isinstance(v, list)), [])),
            "dtype": "float32",
        }
        for key, entry in norm_stats.items()
        if any(isinstance(value, list) for value in entry.values())
    }
    return {**guessed, **(data.get("keys") or {})}


def _shape(value: Any) -> list[int]:
    return [len(value), *_shape(value[0])] if isinstance(value, list) and value else []
