"""Account figures: what money and open positions make an account worth (domain rule 6).

All amounts are in minor units of the account's currency. The trading server's observations bring profit,
storage, commission and margin of the open positions; the rest follows from them here, and in SQL in
projections/sql/figures_of_accounts.sql for many accounts at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from ledger.definitions import Group
from ledger.money import round_half_even

STALE_AFTER: Final = timedelta(seconds=60)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What an account's open positions add up to.

    `unvalued` counts positions that lack a quote or a rate; `quoted_at` is the time of the oldest quote that
    went in, None where none did; `fed_at` is when the positions were last heard of.
    """

    orders: int = 0
    unvalued: int = 0
    profit: int = 0
    storage: int = 0
    commission: int = 0
    margin: int = 0
    quoted_at: datetime | None = None
    fed_at: datetime | None = None

    @property
    def net_profit(self) -> int:
        """Profit with storage and commission."""
        return self.profit + self.storage + self.commission

    def stale(self, now: datetime) -> bool:
        """Tell whether there are open positions whose feed or quote is older than a minute, or missing."""
        if not self.orders:
            return False
        oldest = now - STALE_AFTER
        return (
            self.unvalued > 0
            or self.fed_at is None
            or self.fed_at < oldest
            or (self.quoted_at is not None and self.quoted_at < oldest)
        )


NO_POSITIONS: Final = Figures()


class Worth(msgspec.Struct, frozen=True, kw_only=True):
    """An account's money beside its figures, under its group's policies."""

    balance: int
    credit: int
    group: Group
    figures: Figures = NO_POSITIONS

    @property
    def equity(self) -> int:
        """Balance, credit and floating profit: gross, or net where the group says so."""
        floating = self.figures.net_profit if self.group.equity_mode == "net" else self.figures.profit
        return self.balance + self.credit + floating

    @property
    def margin_free(self) -> int:
        """Equity less margin."""
        return self.equity - self.figures.margin

    @property
    def margin_level(self) -> int:
        """Equity in hundredths of a percent of the margin; 0 when there is no margin."""
        margin = self.figures.margin
        return round_half_even(self.equity * 10_000, margin) if margin else 0

    @property
    def withdrawable(self) -> int:
        """What the client may take out under the group's policy (domain rule 4)."""
        own = self.credit if self.group.withdraw_policy == "protect_credit" else 0
        return max(0, min(self.balance, self.margin_free - own))

    @property
    def credit_free(self) -> int:
        """What of the credit can be taken out: not beyond the free margin."""
        return max(0, min(self.credit, self.margin_free))
