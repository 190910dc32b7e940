"""Pack parameters in PostgreSQL's binary form, above all whole batches as one composite array.

A list for each column costs psycopg 4 us per column and statement; one packed array is the fastest
form at every batch size. A row has three parts: fixed fields (integers, never null), shared fields (of
few different values, such as days, kinds and currencies: packed once together, and found again), and
variable fields (text, bytes, nullable int8).
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
FIXED: Final = {"int8": ("q", 20, 8), "int2": ("h", 21, 2), "date": ("i", 1082, 4)}
OIDS: Final = {
    "int8": 20,
    "int2": 21,
    "text": 25,
    "bytea": 17,
    "date": 1082,
    "timestamptz": 1184,
}
SHARED_MAX: Final = 4096

Shared = tuple[str | int | date | datetime | None, ...]
Variable = tuple[str | bytes | int | None, ...]
Row = tuple[tuple[int, ...], Shared, Variable]


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

    def __init__(
        self, oid: int, *, fixed: Sequence[str], shared: Sequence[str] = (), variable: Sequence[str] = ()
    ) -> None:
        self._oid = oid
        columns = [FIXED[kind] for kind in fixed]
        begins = struct.Struct("!ii" + "".join(f"8s{code}" for code, _, _ in columns))
        self._pack, self._head_size = begins.pack, begins.size - 4
        self._template: list[int | bytes] = [0, len(fixed) + len(shared) + len(variable)]
        for _, column_oid, size in columns:
            self._template += [struct.pack("!ii", column_oid, size), 0]
        self._shared_heads = [_head(kind) for kind in shared]
        self._shared: dict[Shared, bytes] = {}
        self._variable = [(_head(kind), _head(kind) + NULL) for kind in variable]

    def array(self, rows: Iterable[Row]) -> Packed:
        """Pack rows, each given as its fixed, its shared and its variable fields."""
        row, parts, count = self._template.copy(), list[bytes](), 0
        for fixed, shared, variable in rows:
            again = self._shared.get(shared)
            kept = self._share(shared) if again is None else again
            size = self._head_size + len(kept)
            rest = [kept]
            for (head, null), value in zip(self._variable, variable):  # noqa: B905 - strict doubles its time
                if value is None:
                    rest.append(null)
                    size += 8
                else:
                    data = value.encode() if isinstance(value, str) else _data(value)
                    rest += (head, _LENGTH(len(data)), data)
                    size += 8 + len(data)
            row[0], row[3::2] = size, fixed
            parts.append(self._pack(*row))
            parts += rest
            count += 1
        if not count:
            return Packed(struct.pack("!iii", 0, 0, self._oid))
        return Packed(struct.pack("!iiiii", 1, 0, self._oid, count, 1) + b"".join(parts))

    def _share(self, values: Shared) -> bytes:
        """Pack fields that come again and again, once."""
        if len(self._shared) >= SHARED_MAX:
            self._shared.clear()
        packed = b"".join(
            head + _sized(value) for head, value in zip(self._shared_heads, values, strict=True)
        )
        self._shared[values] = packed
        return packed


_LENGTH = struct.Struct("!i").pack


def _head(kind: str) -> bytes:
    return OIDS[kind].to_bytes(4, "big")


def _sized(value: str | bytes | int | date | datetime | None) -> bytes:
    if value is None:
        return NULL
    data = _data(value)
    return _LENGTH(len(data)) + data


def _data(value: str | bytes | int | date | datetime) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    if isinstance(value, datetime):
        return microseconds(value).to_bytes(8, "big", signed=True)
    if isinstance(value, date):
        return days(value).to_bytes(4, "big", signed=True)
    return value.to_bytes(8, "big", signed=True)


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
