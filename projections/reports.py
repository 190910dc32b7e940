"""The reporting views of a ledger: what a BI tool may read. docs/reporting.md describes their columns."""

from __future__ import annotations

from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from projections.schema import report_views
from projections.sql import sql

REPORTS = ("report_ledger", "report_accounts", "report_history", "report_daily", "report_totals")
PERSONAL_REPORTS = ("report_personal_accounts", "report_personal_history")


def point_reports(connection: Connection[Any], schema: str) -> None:
    """Make the views in a schema, or point those that are there at the tables that the search path finds."""
    connection.execute(SQL(sql("reports")).format(schema=Identifier(schema)))


def drop_reports(connection: Connection[Any]) -> None:
    """Drop the views in the schema on the search path, of whatever version they are."""
    for view in report_views(connection):
        connection.execute(SQL("DROP VIEW {}").format(Identifier(view)))
