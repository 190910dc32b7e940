"""Verify an export of a log where there is no database: its events by themselves, and against checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from ledger import merkle
from ledger.codec import UNREADABLE
from ledger.continuity import EventCheck, Stored
from ledger.events import decode
from ledger.evidence import FINDINGS_MAX, Elsewhere, Evidence, Kept, Signatures

STEP = 1_000

Progress = Callable[[int], None]


class ExportVerification:
    """One pass over an export: the stored bytes of the events from the first one on, one a line."""

    def __init__(self, kept: Sequence[Kept], signatures: Signatures) -> None:
        self._elsewhere = Elsewhere(kept, signatures)
        self._events = EventCheck()
        self._evidence = Evidence()

    @property
    def head(self) -> int:
        """The last position that was read."""
        return self._events.head

    @property
    def vouched(self) -> int:
        """Up to which position a checkpoint vouches for the events."""
        return self._evidence.vouched

    def run(self, lines: Iterable[bytes], progress: Progress | None = None) -> Iterator[str]:
        """Say in a line each what is not right, and where."""
        rest, begun = iter(lines), False
        while step := list(islice(rest, STEP)):
            if not begun:
                yield from self._expect(self._stored(step[0]).leaf_hash)
            begun = True
            leaves = []
            for line in step:
                stored = self._stored(line)
                leaves.append(stored.leaf_hash)
                yield from self._events.take(stored)
                if self._events.broken >= FINDINGS_MAX:
                    yield f"what follows position {self.head} was not looked at"
                    return
            if self._events.whole:
                self._evidence.read(b"".join(leaves))
            if progress is not None:
                progress(self.head)
        if not begun:
            yield from self._expect(None)
        yield from self._evidence.findings(self.head)

    def _expect(self, first_leaf: bytes | None) -> Iterator[str]:
        yield from self._elsewhere.read(first_leaf)
        self._evidence.expect(self._elsewhere.within(0))

    def _stored(self, line: bytes) -> Stored:
        state = line.removesuffix(b"\n")
        leaf = merkle.leaf_hash(state)
        try:
            event = decode(state)
        except UNREADABLE:  # which the check says again
            return Stored(self.head + 1, "", 0, "?", state, leaf)
        return Stored(event.position, event.stream, event.version, event.TOPIC, state, leaf)
