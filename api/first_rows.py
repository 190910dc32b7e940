"""The row of a file in which each login stands first: a million logins take 25 MB, where a dict takes 100."""

from __future__ import annotations

from array import array
from typing import Final

SLOTS_AT_FIRST: Final = 1 << 12
_GOLDEN: Final = 0x9E3779B97F4A7C15  # 2**64 by the golden ratio: neighbours land far apart
_WORD: Final = (1 << 64) - 1


class FirstRows:
    """A table of open addressing, at most half full. Rows count from 1: 0 is an empty slot."""

    def __init__(self) -> None:
        self._count = 0
        self._allot(SLOTS_AT_FIRST)

    def first(self, login: int, row: int) -> int:
        """Give the row in which the login stood first: this one, unless there was one before."""
        slot = self._slot(login)
        if not self._rows[slot]:
            self._logins[slot], self._rows[slot] = login, row
            self._count += 1
            if 2 * self._count > len(self._rows):
                self._grow()
            return row
        return self._rows[slot]

    def _allot(self, slots: int) -> None:
        self._logins = array("Q", [0]) * slots
        self._rows = array("I", [0]) * slots
        self._shift = 65 - slots.bit_length()

    def _slot(self, login: int) -> int:
        """Find the login's slot, or the empty one where it belongs."""
        slot = (login * _GOLDEN & _WORD) >> self._shift
        while self._rows[slot] and self._logins[slot] != login:
            slot = (slot + 1) % len(self._rows)
        return slot

    def _grow(self) -> None:
        logins, rows = self._logins, self._rows
        self._allot(2 * len(rows))
        for login, row in zip(logins, rows, strict=True):
            if row:
                slot = self._slot(login)
                self._logins[slot], self._rows[slot] = login, row
