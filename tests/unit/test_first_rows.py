"""A login is known by the row in which it stood first, however many there are."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from api.first_rows import SLOTS_AT_FIRST, FirstRows

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 5 * SLOTS_AT_FIRST
LARGEST = 10**16 - 1
"""What a cell of sixteen digits can hold."""


@pytest.mark.parametrize(
    "login",
    [
        lambda chance: chance.randrange(MANY),
        lambda chance: chance.randrange(MANY) * 2**32,
        lambda chance: LARGEST - chance.randrange(MANY),
        lambda chance: chance.randrange(LARGEST),
    ],
    ids=["dense", "in-steps", "large", "anywhere"],
)
def test_each_login_is_found_in_the_row_where_it_stood_first(login: Callable[[Random], int]) -> None:
    chance = Random(7)
    first_rows, model = FirstRows(), dict[int, int]()
    for row in range(2, MANY):
        found = login(chance)
        assert first_rows.first(found, row) == model.setdefault(found, row)
