"""The users export: every matched account as a line of text, written by the database from one snapshot.

Row by row in Python it would take five times as long. The database knows the digits of each currency, so
the decimals are as exact as everywhere: a whole number of minor units times 0.01.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final, Literal

from psycopg import AsyncConnection
from psycopg.sql import SQL

from ledger.money import DIGITS_MAX
from projections.accounts import PERSONAL, STRUCTURE
from projections.accounts_filter import FIELDS
from projections.accounts_scope import Scope
from projections.sql import sql
from projections.totals import Moment

Format = Literal["csv", "json", "ndjson"]

CHUNK: Final = 1_000
"""Lines that are passed on together: a few hundred kilobytes."""


async def export_lines(
    connection: AsyncConnection[Any], scope: Scope, moment: Moment, *, form: Format, personal: bool
) -> AsyncGenerator[list[bytes], None]:
    """Yield the lines of all accounts of a scope, some at a time; personal columns are blank unless asked."""
    if scope.empty:
        return
    await connection.execute(_WIDEN)
    lines: list[bytes] = []
    statement = _statement(scope, form=form, personal=personal)
    async with connection.cursor() as cursor, cursor.copy(statement, scope.params | moment.params) as copy:
        async for line in copy:
            lines.append(bytes(line))
            if len(lines) == CHUNK:
                yield lines
                lines = []
    if lines:
        yield lines


# The driver's buffer grows with the largest message and stays so. A large one first lets it take all that has
# come at each turn of the event loop: with turns of 3 ms a million accounts took 15 s instead of 54.
_WIDEN: Final = "SELECT repeat(' ', 1000000)"

_UNITS: Final = {digits: f"0.{1:0{digits}d}" if digits else "1" for digits in range(DIGITS_MAX + 1)}
_UNIT: Final = f"CASE v.digits {' '.join(f'WHEN {n} THEN {unit}' for n, unit in _UNITS.items())} END"
_RUN_BY_SPREADSHEETS: Final = "(61, 43, 45, 64, 9, 13, 10)"  # = + - @ tab CR LF

# JSON has no control characters, so none of its lines is quoted by these rules.
_AS_IT_IS: Final = r"FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02', ENCODING 'UTF8'"
_LAYOUTS: Final[dict[Format, str]] = {
    "csv": r"FORMAT csv, NULL E'\x01', ENCODING 'UTF8'",
    "json": _AS_IT_IS,
    "ndjson": _AS_IT_IS,
}


def _statement(scope: Scope, *, form: Format, personal: bool) -> SQL:
    text = sql("users_export").format(
        cells=_cells(form, hidden=() if personal else PERSONAL),
        accounts=sql("figures_of_accounts"),
        where=scope.where,
        layout=_LAYOUTS[form],
    )
    return SQL(text)


def _cells(form: Format, *, hidden: Sequence[str]) -> str:
    """Write the columns of a line: cells of their own in CSV, else one text."""
    values = {name: "''" if name in hidden else _value(name) for name in STRUCTURE}
    match form:
        case "csv":
            return ", ".join(_guarded(name, value) for name, value in values.items())
        case "json":
            return f"'[' || concat_ws(',', {', '.join(_encoded(*field) for field in values.items())}) || ']'"
        case "ndjson":
            named = [f"""'"{name}":' || {_encoded(name, value)}""" for name, value in values.items()]
            return f"'{{' || concat_ws(',', {', '.join(named)}) || '}}'"


def _value(name: str) -> str:
    column = f'v."{name}"'
    match FIELDS[name]:
        case "money":
            return f"{column} * {_UNIT}"
        case "percent":
            return f"{column} * 0.01"
        case _:
            return column


def _guarded(name: str, value: str) -> str:
    """Put a quote before a text that a spreadsheet would take for a formula; numbers are left alone."""
    if not _is_text(name):
        return value
    return f"CASE WHEN ascii({value}) IN {_RUN_BY_SPREADSHEETS} THEN '''' || {value} ELSE {value} END"


def _encoded(name: str, value: str) -> str:
    return f"to_json({value}::text)" if _is_text(name) else value


def _is_text(name: str) -> bool:
    return FIELDS[name] in {"text", "group"}
