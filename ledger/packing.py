"""Pack parameters in PostgreSQL's binary form, above all whole batches as one composite array.

A list for each column costs psycopg 4 us per column and statement; one packed array is the fastest
form at every batch size. Rows begin with fixed fields (never null, given as integers: dates in days
and times in microseconds since 2000-01-01), then come variable fields (text, bytes, nullable
int8; labels are texts of few different values, such as kinds and currencies, and packed only once).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Final

from psycopg.adapt import Dumper
from psycopg.pq import Format

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
EPOCH_ORDINAL: Final = EPOCH.toordinal()
NULL: Final = (-1).to_bytes(4, "big", signed=True)
FIXED: Final = {
    "int8": ("q", 20, 8),
    "int2": ("h", 21, 2),
    "date": ("i", 1082, 4),
    "timestamptz": ("q", 1184, 8),
}
VARIABLE: Final = {"int8": 20, "text": 25, "label": 25, "bytea": 17, "timestamptz": 1184}

LABELS_MAX: Final = 4096

Variable = str | bytes | int | None


class Packed(bytes):
    """A parameter in binary form."""


class PackedDumper(Dumper):
    """Hand a packed parameter to the server as it is; the statement's context gives its type."""

    format = Format.BINARY
    oid = 0

    def dump(self, obj: Packed) -> bytes:
        """Give the bytes unchanged."""
        return obj


def int8(value: int) -> Packed:
    """Pack a bigint."""
    return Packed(value.to_bytes(8, "big", signed=True))


def int8_array(values: Sequence[int]) -> Packed:
    """Pack a bigint[]."""
    if not values:
        return _NO_INT8
    sized = [part for value in values for part in (8, value)]
    return Packed(struct.pack("!iiiii" + "iq" * len(values), 1, 0, 20, len(values), 1, *sized))


def text_array(values: Sequence[str]) -> Packed:
    """Pack a text[]."""
    if not values:
        return _NO_TEXT
    encoded = [value.encode() for value in values]
    parts = [part for data in encoded for part in (len(data).to_bytes(4, "big"), data)]
    return Packed(struct.pack("!iiiii", 1, 0, 25, len(encoded), 1) + b"".join(parts))


_NO_INT8: Final = Packed(struct.pack("!iii", 0, 0, 20))
_NO_TEXT: Final = Packed(struct.pack("!iii", 0, 0, 25))


class RowPacker:
    """Packs rows of one composite type, whose oid is the connection's database's."""

    def __init__(self, oid: int, *, fixed: Sequence[str], variable: Sequence[str]) -> None:
        self._oid = oid
        columns = [FIXED[kind] for kind in fixed]
        self._fixed = struct.Struct("!i" + "".join(f"ii{code}" for code, _, _ in columns))
        self._template: list[int] = [len(fixed) + len(variable)]
        for _, column_oid, size in columns:
            self._template += [column_oid, size, 0]
        heads = [VARIABLE[kind].to_bytes(4, "big") for kind in variable]
        self._variable = [(kind, head, head + NULL) for kind, head in zip(variable, heads, strict=True)]
        self._labels: dict[str, bytes] = {}

    def array(self, rows: Iterable[tuple[Sequence[int], Sequence[Variable]]]) -> Packed:
        """Pack rows, each given as its fixed and its variable fields."""
        packed = [self._row(fixed, variable) for fixed, variable in rows]
        if not packed:
            return Packed(struct.pack("!iii", 0, 0, self._oid))
        return Packed(struct.pack("!iiiii", 1, 0, self._oid, len(packed), 1) + b"".join(packed))

    def _row(self, fixed: Sequence[int], variable: Sequence[Variable]) -> bytes:
        values = self._template.copy()
        values[3::3] = fixed
        parts = [self._fixed.pack(*values)]
        for (kind, head, null), value in zip(self._variable, variable, strict=True):
            if value is None:
                parts.append(null)
            elif kind == "label":
                parts.append(self._labels.get(value) or self._label(value, head))  # type: ignore[arg-type]
            else:
                data = _data(value)
                parts += (head, len(data).to_bytes(4, "big"), data)
        row = b"".join(parts)
        return len(row).to_bytes(4, "big") + row

    def _label(self, value: str, head: bytes) -> bytes:
        """Pack a text that comes again and again, once."""
        if len(self._labels) >= LABELS_MAX:
            self._labels.clear()
        data = value.encode()
        packed = self._labels[value] = head + len(data).to_bytes(4, "big") + data
        return packed


def _data(value: str | bytes | int) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else value.to_bytes(8, "big", signed=True)


def days(day: date) -> int:
    """Give a date as PostgreSQL counts it."""
    return day.toordinal() - EPOCH_ORDINAL


def microseconds(instant: datetime) -> int:
    """Give an instant as PostgreSQL counts it."""
    since = instant - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def instant(since: int) -> datetime:
    """Give the instant that PostgreSQL counts so."""
    return datetime.fromtimestamp(since // 1_000_000 + EPOCH.timestamp(), UTC).replace(
        microsecond=since % 1_000_000
    )
