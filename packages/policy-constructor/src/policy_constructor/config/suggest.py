"""The nearest spellings, under the name that this package offers them."""

from policy_constructor.spelling import nearest

__all__ = ["nearest"]
