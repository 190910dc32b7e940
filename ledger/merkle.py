"""The Merkle tree over a log, as RFC 6962 defines it: roots, proofs, and what a proof proves.

Leaves count from 0. A tree is a row of perfect subtrees, the largest first; a node names one of them. Where
their hashes come from, a database or a file, is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from hashlib import sha256
from typing import Final

import msgspec

HASH_BYTES: Final = 32
EMPTY: Final = sha256().digest()
TILE_LEVEL: Final = 8
"""Of the nodes above the leaves only those at every eighth level are kept; the others follow from them."""


class Node(msgspec.Struct, frozen=True):
    """A perfect subtree: over `2 ** level` leaves, the one at `index` of all of that level."""

    level: int
    index: int

    @property
    def start(self) -> int:
        """The first leaf below it."""
        return self.index << self.level

    @property
    def end(self) -> int:
        """The first leaf after it."""
        return self.index + 1 << self.level


class Span(msgspec.Struct, frozen=True):
    """A subtree over the leaves from `start` up to, not including, `end`."""

    start: int
    end: int


HashOf = Callable[[Node], bytes]


def leaf_hash(data: bytes) -> bytes:
    """Hash what a leaf stands for."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into the one above."""
    return sha256(b"\x01" + left + right).digest()


def root(size: int, hash_of: HashOf) -> bytes:
    """Give the root of a tree."""
    return _root_of(Span(0, size), hash_of)


def inclusion_proof(index: int, size: int, hash_of: HashOf) -> list[bytes]:
    """Prove that a tree has its leaf (RFC 6962, 2.1.1)."""
    return [_root_of(span, hash_of) for span in inclusion_spans(index, size)]


def consistency_proof(old: int, new: int, hash_of: HashOf) -> list[bytes]:
    """Prove that a tree begins with a smaller one (RFC 6962, 2.1.2)."""
    return [_root_of(span, hash_of) for span in consistency_spans(old, new)]


def includes(root: bytes, *, size: int, index: int, leaf: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether a proof shows that the tree of this root has the leaf at this index."""
    if not 0 <= index < size:
        return False
    spans = inclusion_spans(index, size)
    if len(proof) != len(spans):
        return False
    found = leaf
    for span, sibling in zip(spans, proof, strict=True):
        found = node_hash(sibling, found) if span.end <= index else node_hash(found, sibling)
    return found == root


def extends(old_root: bytes, new_root: bytes, *, old: int, new: int, proof: Sequence[bytes]) -> bool:
    """Tell whether a proof shows that the new tree begins with the old one."""
    if not 0 < old <= new:
        return False
    spans = consistency_spans(old, new)
    if len(proof) != len(spans):
        return False
    before = after = old_root
    for span, sibling in zip(spans, proof, strict=True):
        if span.end == old:
            before = after = sibling
        elif span.end < old:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
        else:
            after = node_hash(after, sibling)
    return (before, after) == (old_root, new_root)


def inclusion_spans(index: int, size: int) -> list[Span]:
    """Name the subtrees whose roots are a proof of inclusion, the nearest to the leaf first."""
    spans: list[Span] = []
    start, end = 0, size
    while end - start > 1:
        middle = _middle(start, end)
        if index < middle:
            spans.append(Span(middle, end))
            end = middle
        else:
            spans.append(Span(start, middle))
            start = middle
    return spans[::-1]


def consistency_spans(old: int, new: int) -> list[Span]:
    """Name the subtrees whose roots are a proof of consistency, the nearest to the old tree's end first."""
    spans: list[Span] = []
    start, end = 0, new
    while end != old:
        middle = _middle(start, end)
        if old <= middle:
            spans.append(Span(middle, end))
            end = middle
        else:
            spans.append(Span(start, middle))
            start = middle
    if start > 0:
        spans.append(Span(start, end))
    return spans[::-1]


def nodes_of(span: Span) -> Iterator[Node]:
    """Name the perfect subtrees that a subtree is made of, the largest first."""
    start = span.start
    while start < span.end:
        level = (span.end - start).bit_length() - 1
        yield Node(level, start >> level)
        start += 1 << level


def joined(hashes: Iterable[bytes]) -> bytes:
    """Give the root over perfect subtrees, each smaller than the one before it."""
    from_the_right = reversed(list(hashes))
    last = next(from_the_right, EMPTY)
    return reduce(lambda right, left: node_hash(left, right), from_the_right, last)


def row_hash(row: bytes) -> bytes:
    """Give the root over neighbours of one level, a power of two of them, in one value."""
    grown = Frontier()
    grown.extend(row)
    return grown.root


class Frontier:
    """A tree as it grows: its size, and the hashes of the perfect subtrees that it is made of."""

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self._peaks = list(peaks)

    @property
    def root(self) -> bytes:
        """The root of the tree."""
        return joined(self._peaks)

    def extend(self, leaves: bytes) -> list[tuple[Node, bytes]]:
        """Add leaf hashes, one after the other in one value; give the nodes to keep that they completed."""
        completed = []
        peaks = self._peaks
        for at in range(0, len(leaves), HASH_BYTES):
            found, level, below = leaves[at : at + HASH_BYTES], 0, self.size
            while below & 1:
                found = sha256(b"\x01" + peaks.pop() + found).digest()
                level, below = level + 1, below >> 1
                if level % TILE_LEVEL == 0:
                    completed.append((Node(level, below), found))
            peaks.append(found)
            self.size += 1
        return completed


def _root_of(span: Span, hash_of: HashOf) -> bytes:
    return joined(hash_of(node) for node in nodes_of(span))


def _middle(start: int, end: int) -> int:
    """Give where the left subtree ends: it has the greatest power of two below the size."""
    return start + (1 << (end - start - 1).bit_length() - 1)
