"""What seals say of a log that is read from its beginning: which part of it is not what was sealed.

A root that agrees vouches for all events before it. So what was changed lies after the last root that agrees,
and not after the first one beyond it that does not; a node that does not agree says in which 256 events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from ledger import checkpoint
from ledger.checkpoint import Checkpoint, NoteBroken, VerificationKey, is_origin_of
from ledger.merkle import HASH_BYTES, TILE_LEVEL, Frontier, Node

FINDINGS_MAX = 20


class Witness(msgspec.Struct, frozen=True):
    """Something that says what the root over the first events is; `senior` where no database held it."""

    size: int
    root: bytes
    name: str
    senior: bool = False


class Kept(msgspec.Struct, frozen=True):
    """A checkpoint that was kept elsewhere: what it is called, and its note."""

    name: str
    note: str


class Signatures:
    """Checks notes by the public keys that are known; where none is, notes are not checked."""

    def __init__(self, keys: Iterable[VerificationKey]) -> None:
        self._publics = {key.public for key in keys}
        self._keys: dict[str, list[VerificationKey]] = {}

    def check(self, note: str, found: Checkpoint) -> None:
        """Raise NoteBroken unless a known key signed this."""
        if not self._publics:
            return
        if found.origin not in self._keys:
            self._keys = {found.origin: [VerificationKey(found.origin, public) for public in self._publics]}
        checkpoint.check(note, self._keys[found.origin])


class Elsewhere:
    """The checkpoints that were kept elsewhere, as witnesses."""

    def __init__(self, kept: Sequence[Kept], signatures: Signatures) -> None:
        self._kept = kept
        self._signatures = signatures
        self._witnesses: list[Witness] = []

    def read(self, first_leaf: bytes | None) -> Iterator[str]:
        """Read them for the log with this first event; say what is wrong with them by themselves."""
        for kept in self._kept:
            try:
                found = checkpoint.read(kept.note)
                self._signatures.check(kept.note, found)
            except NoteBroken as error:
                yield f"{kept.name}: {error}"
                continue
            if first_leaf is not None and not is_origin_of(found.origin, first_leaf):
                yield f"{kept.name} is of {found.origin}: another ledger, or position 1 is another event"
            self._witnesses.append(
                Witness(found.size, found.root, f"the checkpoint {kept.name}", senior=True)
            )

    def within(self, start: int, end: int | None = None) -> list[Witness]:
        """Give those over more events than one number, and not more than another."""
        return [witness for witness in self._witnesses if start < witness.size <= (end or witness.size)]


class Evidence:
    """The tree over a log as it is read, held against witnesses and against the nodes that were kept."""

    def __init__(self) -> None:
        self._tree = Frontier()
        self._awaited: deque[Witness] = deque()
        self._vouched = 0
        self._vouched_by_seniors = 0
        self._betrayed: tuple[Witness, int] | None = None
        self._wrong: list[Witness] = []
        self._doubtful: list[Witness] = []
        self._nodes: list[Node] = []

    @property
    def size(self) -> int:
        """How many events were read."""
        return self._tree.size

    @property
    def vouched(self) -> int:
        """Up to which position something that agrees vouches for the events."""
        return self._vouched

    def expect(self, witnesses: Iterable[Witness]) -> None:
        """Take witnesses of what comes next."""
        self._awaited.extend(sorted(witnesses, key=lambda witness: witness.size))

    def read(self, leaves: bytes) -> list[tuple[Node, bytes]]:
        """Read on, by leaf hashes; give the nodes that a sealer would have kept."""
        nodes = []
        while self._awaited and self._awaited[0].size <= self._tree.size + len(leaves) // HASH_BYTES:
            witness = self._awaited.popleft()
            up_to = (witness.size - self._tree.size) * HASH_BYTES
            nodes += self._tree.extend(leaves[:up_to])
            leaves = leaves[up_to:]
            self._hear(witness)
        return nodes + self._tree.extend(leaves)

    def doubt(self, node: Node) -> None:
        """Take note of a kept node that is not that of the log, in order."""
        if node.level == TILE_LEVEL and len(self._nodes) < FINDINGS_MAX:
            self._nodes.append(node)

    def findings(self, head: int) -> Iterator[str]:
        """Say what does not agree, once the log was read to its head."""
        for witness in self._doubtful:
            yield f"{witness.name} is not of this log, though a later one is: one of the two was changed"
        yield from self._changes()
        if self._awaited and (last := self._awaited[-1]).size > head:
            yield f"missing: {places(head, last.size)}, which {last.name} was made over"

    def _hear(self, witness: Witness) -> None:
        if witness.root == self._tree.root:
            self._doubtful = [*self._doubtful, *self._wrong][:FINDINGS_MAX]
            self._wrong = []
            self._vouched = witness.size
            self._vouched_by_seniors = witness.size if witness.senior else self._vouched_by_seniors
        elif witness.senior:
            self._betrayed = self._betrayed or (witness, self._vouched_by_seniors)
        elif len(self._wrong) < FINDINGS_MAX:
            self._wrong.append(witness)

    def _changes(self) -> Iterator[str]:
        left = deque(self._nodes)
        while left and left[0].end <= self._vouched:
            node = left.popleft()
            yield f"the tree's node over {places(node.start, node.end)} is not that of the log"
        if self._betrayed is not None:
            yield _changed(*self._betrayed, left)
        if self._wrong:
            yield _changed(self._wrong[0], self._vouched, left)
            if left and left[0].start < self._wrong[0].size:
                left.popleft()
        for node in left:
            start = max(node.start, self._vouched)
            yield f"not what was sealed: {places(start, node.end)}; the tree does not agree"


def _changed(witness: Witness, start: int, nodes: deque[Node]) -> str:
    """Name where something was changed: up to a witness, after a place, in the first node that is wrong."""
    end = witness.size
    if nodes and nodes[0].start < end:
        start, end = max(start, nodes[0].start), min(end, nodes[0].end)
    return f"not what was sealed: {places(start, end)}; {witness.name} does not agree"


def places(start: int, end: int) -> str:
    """Name the positions after one and up to another."""
    return f"position {end}" if end == start + 1 else f"positions {start + 1} to {end}"
