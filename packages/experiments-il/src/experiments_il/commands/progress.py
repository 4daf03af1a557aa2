"""How the commands show that something takes time."""

from __future__ import annotations

from experiments_il.data.counting_display import counting_display

__all__ = ["counting_display"]
