"""What the writer remembers of accounts that it has met, so that it need not read them again.

Whatever changes an account is an event. What is remembered as of a position is true for as long as that is
the last position, and a batch that is decided on it takes the positions after it: where another process has
taken one of these first, the batch fails as a whole and is decided again on what is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ledger.account import Account

ACCOUNTS_MAX = 40_000
NOTHING: Mapping[int, Account] = MappingProxyType({})


class Memory:
    """Accounts as they were at one position, in one table; those that were not met lately are forgotten."""

    def __init__(self, accounts_max: int = ACCOUNTS_MAX) -> None:
        self._half = accounts_max // 2
        self._position = 0
        self.table = 0
        """Which table they are of, as the database numbers it: a rebuild moves another in."""
        self._lately: dict[int, Account] = {}
        self._before: dict[int, Account] = {}

    def accounts(
        self, logins: Iterable[int], upon: Mapping[int, Account] = NOTHING
    ) -> dict[int, Account] | None:
        """Give these accounts, as newer ones show them first, or None where one is not remembered."""
        found = {}
        for login in logins:
            account = upon.get(login) or self._lately.get(login) or self._before.get(login)
            if account is None:
                return None
            found[login] = account
        return found

    def move(self, position: int, table: int) -> None:
        """Be as of the position and table that were found; forget all if one of them is another."""
        if (position, table) != (self._position, self.table):
            self.forget()
            self._position, self.table = position, table

    def keep(self, accounts: Mapping[int, Account], position: int) -> None:
        """Take accounts as they are now, and as of which position all is true."""
        self._position = position
        self._lately.update(accounts)
        if len(self._lately) > self._half:
            self._before, self._lately = self._lately, {}

    def forget(self) -> None:
        """Remember nothing."""
        self._lately, self._before = {}, {}
