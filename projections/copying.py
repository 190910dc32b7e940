"""Add many rows to a table by COPY.

The JSON encoder makes the lines, in C: a list of plain values without its brackets is a line of CSV, once
what JSON escapes beside quotes and backslashes is put back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, LiteralString

import msgspec
from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier

from ledger.packing import Row

_COPY: LiteralString = (
    "COPY {} ({}) FROM STDIN (FORMAT csv, NULL 'null', QUOTE '\"', ESCAPE '\\', ENCODING 'UTF8')"
)
_COLUMNS: LiteralString = """
SELECT attname FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


class Copying:
    """Adds rows to a table that the search path finds; their fields are in the order of a row type's."""

    def __init__(self, connection: Connection[Any], table: str, row_type: str) -> None:
        self._connection = connection
        self._table = table
        self._columns = [name for (name,) in connection.execute(_COLUMNS, [row_type]).fetchall()]

    def add(self, lines: bytes) -> None:
        """Copy lines into the table."""
        if lines:
            with self._connection.cursor().copy(self._statement()) as copy:
                copy.write(lines)

    def _statement(self) -> Composed:
        columns = SQL(", ").join(map(Identifier, self._columns))
        return SQL(_COPY).format(Identifier(self._table), columns)


def csv_of(rows: Sequence[Row]) -> bytes:
    """Write rows as lines of CSV, for COPY alone."""
    if not rows:
        return b""
    lists = _encoder.encode_lines([(*fixed, *shared, *variable) for fixed, shared, variable in rows])
    lines = lists[1:-2].replace(b"]\n[", b"\n")  # no line ends within a text: JSON escapes it
    return _ESCAPE.sub(_character, lines) if _OTHER_ESCAPE.search(lines) else lines


_encoder: Final = msgspec.json.Encoder()
_ESCAPE: Final = re.compile(rb"\\(?:u....|.)")
_OTHER_ESCAPE: Final = re.compile(rb'\\[^"\\]')


def _character(found: re.Match[bytes]) -> bytes:
    escape = found[0]
    return escape if escape in (b'\\"', b"\\\\") else msgspec.json.decode(b'"%b"' % escape, type=str).encode()
