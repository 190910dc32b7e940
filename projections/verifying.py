"""Verify a log in its database: each event against those before it, and all of them against what was sealed.

One pass in steps, in the snapshot of whoever calls. What is kept in memory grows with the accounts, not with
the events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg import Connection

from ledger import checkpoint, merkle
from ledger.checkpoint import NoteBroken, VerificationKey
from ledger.continuity import EventCheck, Stored
from ledger.evidence import FINDINGS_MAX, Elsewhere, Evidence, Kept, Signatures, Witness, places
from ledger.merkle import HASH_BYTES, Node
from projections.replay import Progress, stored_after

_CHECKPOINTS = (
    "SELECT size, root, sealed_at, note FROM checkpoints WHERE size > %s AND size <= %s ORDER BY size"
)
_NEWEST = "SELECT size, root, sealed_at, note FROM checkpoints ORDER BY size DESC LIMIT 1"
_THERE = "SELECT EXISTS (SELECT FROM checkpoints WHERE size = %s)"
_NODES = """
SELECT level, "index", hash FROM tree_nodes
JOIN unnest(%s::smallint[], %s::bigint[]) AS wanted (level, "index") USING (level, "index")
"""
_NODES_END = 'SELECT coalesce(max(("index" + 1) << level), 0) FROM tree_nodes'
_EXTENT = """
SELECT
    (SELECT coalesce(max(notification_id), 0) FROM ledger_events),
    (SELECT coalesce(max(size), 0) FROM checkpoints)
"""


class Sealed(NamedTuple):
    """One checkpoint as it lies in its table."""

    size: int
    root: bytes
    sealed_at: datetime
    note: str


class LogVerification:
    """One pass over a log. `broken` counts the events that are missing, or wrong by themselves."""

    def __init__(
        self, connection: Connection[Any], *, keys: Sequence[VerificationKey] = (), kept: Sequence[Kept] = ()
    ) -> None:
        self._connection = connection
        self._events = EventCheck()
        self._seals = _Seals(connection, Signatures(keys), kept)
        self._told = 0

    @property
    def broken(self) -> int:
        """How many events are missing or wrong."""
        return self._events.broken

    def run(self, progress: Progress | None = None) -> Iterator[str]:
        """Say in a line each what is not right, and where."""
        while rows := self._chunk():
            for row in rows:
                yield from self._events.take(row)
                if self.broken >= FINDINGS_MAX:
                    yield f"what follows position {row.position} was not looked at"
                    return
            if self._events.whole:
                yield from self._some(self._seals.take(rows))
            if progress is not None:
                progress(self._events.head)
        yield from self._seals.end(self._events.head)

    def _some(self, findings: Iterator[str]) -> Iterator[str]:
        """Tell so many findings about seals at most: where one table is emptied they would be endless."""
        for finding in findings:
            self._told += 1
            if self._told <= FINDINGS_MAX:
                yield finding

    def _chunk(self) -> list[Stored]:
        return [Stored(*row) for row in stored_after(self._connection, self._events.head)]


def extent(connection: Connection[Any]) -> tuple[int, int]:
    """Give how far the log goes, and how far it is sealed."""
    found: tuple[int, int] | None = connection.execute(_EXTENT).fetchone()
    assert found is not None
    return found


class _Seals:
    """What was sealed: checkpoints, stored and kept elsewhere, and the tree's nodes."""

    def __init__(self, connection: Connection[Any], signatures: Signatures, kept: Sequence[Kept]) -> None:
        self._connection = connection
        self._signatures = signatures
        self._elsewhere = Elsewhere(kept, signatures)
        self._evidence = Evidence()
        self._newest = self._stored(_NEWEST)[-1:]
        self._before = 0

    @property
    def _sealed(self) -> int:
        return self._newest[0].size if self._newest else 0

    def take(self, rows: Sequence[Stored]) -> Iterator[str]:
        """Hold the next events against the checkpoints and the nodes that end among them."""
        if self._evidence.size == 0:
            yield from self._elsewhere.read(rows[0].leaf_hash)
        start, end = self._evidence.size, rows[-1].position
        stored = self._stored(_CHECKPOINTS, start, end)
        yield from self._check(stored)
        self._evidence.expect([*map(_witness, stored), *self._elsewhere.within(start, end)])
        completed = self._evidence.read(b"".join(map(_leaf, rows)))
        yield from self._compare([(node, found) for node, found in completed if node.end <= self._sealed])

    def end(self, head: int) -> Iterator[str]:
        """Say what does not agree, and what was sealed beyond the end."""
        if head == 0:
            yield from self._elsewhere.read(None)
        beyond = [witness for witness in map(_witness, self._newest) if witness.size > head]
        self._evidence.expect([*beyond, *self._elsewhere.within(head)])
        yield from self._evidence.findings(head)
        [[nodes_end]] = self._connection.execute(_NODES_END).fetchall()
        if nodes_end > self._sealed:
            yield f"checkpoints are missing: the tree goes to position {nodes_end}, they go to {self._sealed}"
        for witness in self._elsewhere.within(self._sealed):
            yield f"checkpoints are missing: {witness.name} is newer than those that are stored"

    def _check(self, stored: Sequence[Sealed]) -> Iterator[str]:
        """Check what stored checkpoints say by themselves."""
        for sealed in stored:
            try:
                found = checkpoint.read(sealed.note)
                self._signatures.check(sealed.note, found)
                if (found.size, found.root, found.sealed_at) != sealed[:3]:
                    yield f"{_name(sealed)} says in its note what its row does not"
                if found.after not in (0, self._before) and not self._there(found.after):
                    yield f"{_name(sealed)} came after one over {found.after} events, which is missing"
            except NoteBroken as error:
                yield f"{_name(sealed)}: {error}"
            self._before = sealed.size

    def _compare(self, completed: Sequence[tuple[Node, bytes]]) -> Iterator[str]:
        levels, indexes = [node.level for node, _ in completed], [node.index for node, _ in completed]
        rows = self._connection.execute(_NODES, [levels, indexes], binary=True).fetchall()
        kept = {Node(level, index): found for level, index, found in rows}
        for node, found in completed:
            if node not in kept:
                yield f"the tree lacks its node over {places(node.start, node.end)}"
            elif kept[node] != found:
                self._evidence.doubt(node)

    def _stored(self, query: str, *params: int) -> list[Sealed]:
        rows = self._connection.execute(query.encode(), params or None, binary=True).fetchall()
        return [Sealed(*row) for row in rows]

    def _there(self, size: int) -> bool:
        return self._connection.execute(_THERE, [size]).fetchone() == (True,)


def _leaf(row: Stored) -> bytes:
    return row.leaf_hash if len(row.leaf_hash) == HASH_BYTES else merkle.leaf_hash(row.state)


def _witness(sealed: Sealed) -> Witness:
    return Witness(sealed.size, sealed.root, _name(sealed))


def _name(sealed: Sealed) -> str:
    sealed_at = sealed.sealed_at.astimezone(UTC)
    return f"the checkpoint over {sealed.size} events, of {sealed_at:%Y-%m-%d %H:%M:%S}"
