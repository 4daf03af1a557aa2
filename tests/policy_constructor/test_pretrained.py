"""Blocks can be told to leave pretrained files unread."""

import pytest

from policy_constructor.pretrained import is_pretrained_wanted, without_pretrained


def test_pretrained_weights_are_wanted_but_where_they_are_replaced() -> None:
    assert is_pretrained_wanted()
    with without_pretrained():
        assert not is_pretrained_wanted()
    assert is_pretrained_wanted()


def test_failure_inside_does_not_change_what_follows() -> None:
    with pytest.raises(RuntimeError), without_pretrained():
        raise RuntimeError
    assert is_pretrained_wanted()
