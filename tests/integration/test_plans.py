"""The writer's plans are made once, while tables may be small: they must go by indexes all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from api.database import WRITER_OPTIONS
from ledger.wire import Prepared
from projections import schema
from projections.batch import BatchViews

if TYPE_CHECKING:
    from tests.drive import LedgerUnderTest

TYPES = {
    "logins": "bigint[]",
    "request_ids": "text[]",
    "operations": "bigint[]",
    "kinds": "text[]",
    "methods": "text[]",
    "references": "text[]",
    "limited": "text[]",
    "keys": "text[]",
    "symbols": "text[]",
}


@pytest.mark.parametrize("name", sorted(BatchViews.read_sqls))
def test_a_ledger_that_was_analysed_empty_is_still_read_by_its_indexes(
    ledger: LedgerUnderTest, name: str
) -> None:
    ledger.rows("ANALYZE history")
    ledger.rows("ANALYZE accounts")
    ledger.rows("ANALYZE ledger_events")
    plan = planned(ledger, Prepared(name, BatchViews.read_sqls[name]))
    assert "Index" in plan
    # The server table has one row, the streams of the feed are three.
    small = ("Seq Scan on server", "Seq Scan on feed_streams")
    growing = [line for line in plan.splitlines() if not any(scan in line for scan in small)]
    assert not [line for line in growing if "Seq Scan" in line or "Hash" in line], plan


def test_references_are_looked_up_one_by_one(ledger: LedgerUnderTest) -> None:
    ledger.rows("ANALYZE history")
    plan = planned(ledger, Prepared("more", BatchViews.read_sqls["read_batch_and_more"]))
    assert "Index Cond: ((reference = asked.reference) AND (kind = asked.kind)" in plan, plan


def test_of_what_a_limited_key_has_moved_only_the_last_server_day_is_read(ledger: LedgerUnderTest) -> None:
    ledger.rows("ANALYZE key_usage")
    plan = planned(ledger, Prepared("more", BatchViews.read_sqls["read_batch_and_more"]))
    conditions = [line for line in plan.splitlines() if "Index Cond: ((key_id = ANY" in line]
    assert ["server_day =" in condition for condition in conditions] == [True], plan


def planned(ledger: LedgerUnderTest, statement: Prepared) -> str:
    """Explain a statement as the writer's connection plans it."""
    writer = schema.conninfo_of(ledger.database_url, ledger.name, service=True, **WRITER_OPTIONS)
    types = ", ".join(TYPES[parameter] for parameter in statement.parameters)
    values = ", ".join("'{1}'" for _ in statement.parameters)
    with psycopg.connect(writer, autocommit=True) as connection:
        connection.execute(f"PREPARE wanted ({types}) AS {statement.text.decode()}".encode())
        rows: list[tuple[Any, ...]] = connection.execute(
            f"EXPLAIN EXECUTE wanted ({values})".encode()
        ).fetchall()
    return "\n".join(line for (line,) in rows)
