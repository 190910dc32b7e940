"""Close a month: what each currency began with, what each kind of operation moved, what it ended with.

Opening and closing are those of the daily report, movements are summed over history: two ways through the
books that must meet. Exit code 1 where they do not. `month_end.py 2026-11` closes November 2026, once it is
over: what was booked on days that are over never changes.
"""

from __future__ import annotations

import calendar
import os
import sys
from datetime import date

from api.client import Client, HistoryQuery


def main(month: str) -> int:
    """Print the month of every currency; say whether it foots."""
    year, number = map(int, month.split("-"))
    first = date(year, number, 1)
    with Client(os.environ["LEDGER_URL"], os.environ["LEDGER_KEY"], operator="month_end.py") as ledger:
        last = first.replace(day=calendar.monthrange(year, number)[1])
        if ledger.server().server_day <= last:
            sys.exit(f"{month} is not over")
        openings = {row.currency: row.balance.opening for row in ledger.daily(first).totals}
        closings = {row.currency: row.balance.closing for row in ledger.daily(last).totals}
        query = HistoryQuery(from_day=first, to_day=last, totals=True, limit=1)
        totals = ledger.history_page(query).totals or {}
    print(f"server days {first} to {last}, as booked")
    right = True
    for currency, closing in sorted(closings.items()):
        opening = openings.get(currency, 0)
        moved = {kind: total.balance_change for kind, total in sorted(totals.get(currency, {}).items())}
        lines = {"opening": opening, **moved, "closing": closing}
        print("\n".join(f"{currency} {name:12} {amount:>10}" for name, amount in lines.items()))
        foots = opening + sum(moved.values()) == closing
        print(f"{currency} opening + movements = closing: {'yes' if foots else 'NO'}")
        right = right and foots
    return 0 if right else 1


sys.exit(main(sys.argv[1]))
