"""A commit that cannot go on is said aloud, and what waits behind it is booked once it can."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg

from tests.faults.books import final
from tests.faults.orders import LOGINS
from tests.faults.shop import open_accounts
from tests.service import BOUND_S, service_on, within

if TYPE_CHECKING:
    from pathlib import Path


def test_a_service_that_cannot_book_is_not_ready_and_is_again_when_it_can(
    database_url: str, tmp_path: Path
) -> None:
    deposit = {"login": LOGINS[0], "amount": 5}
    named = {"x-request-id": "waits"}
    with service_on(database_url, tmp_path / "log") as service, service.client() as client:
        open_accounts(client)
        assert client.get("/readyz").status_code == 200
        with ThreadPoolExecutor(1) as threads:
            with psycopg.connect(database_url, options="-c search_path=ledger_main") as holder:
                holder.execute("LOCK TABLE gate IN EXCLUSIVE MODE")
                # A caller is told to come again when it has waited long, and does.
                waiting = threads.submit(
                    final, client, "POST", "/balances/deposit", json=deposit, headers=named
                )
                stalled = "a commit does not come to its end"
                within(BOUND_S / 2, lambda: client.get("/readyz").json().get("detail") == stalled)
                holder.rollback()
            assert waiting.result().status_code in {201, 409}
        assert client.get("/readyz").status_code == 200
        assert len(client.get("/balances/history").json()["rows"]) == 1
