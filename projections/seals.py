"""Seals as they are stored: checkpoints, and the tree's nodes, read and added to.

Level 0 of the tree are the leaf hashes in the log; above it every eighth level is kept. Both are read tile by
tile: 256 neighbours of a kept level, from which the levels up to the next one follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from ledger import merkle
from ledger.checkpoint import Checkpoint
from ledger.merkle import HASH_BYTES, TILE_LEVEL, Frontier, HashOf, Node, Span
from projections.sql import sql

Connection = AsyncConnection[Any]
TILE: Final = 1 << TILE_LEVEL

_SEALED = "SELECT size, root, sealed_at, note FROM checkpoints"
_NEWEST = f"{_SEALED} ORDER BY size DESC LIMIT 1"
_AT = f"{_SEALED} WHERE size = %(size)s"


class SealBroken(Exception):
    """What is sealed does not hold together; nothing is to be signed on top of it."""


class Sealed(msgspec.Struct, frozen=True):
    """A checkpoint as it is stored."""

    size: int
    root: bytes
    sealed_at: datetime
    note: str


class Ahead(msgspec.Struct, frozen=True):
    """What lies ahead of a sealer: the newest checkpoint's size, and the leaf hashes after a position."""

    sealed: int
    leaves: bytes


async def newest(connection: Connection) -> Sealed | None:
    """Give the newest checkpoint; None where nothing was sealed yet."""
    return await _sealed(connection, _NEWEST, {})


async def at(connection: Connection, size: int) -> Sealed | None:
    """Give the checkpoint of this size."""
    return await _sealed(connection, _AT, {"size": Int8(size)})


async def ahead(connection: Connection, *, after: int, limit: int) -> Ahead:
    """Read on from a position; SealBroken where the log has a gap."""
    params = {"after": Int8(after), "limit": Int8(limit)}
    [[sealed, *found]] = await _rows(connection, sql("seal_read"), params)
    return Ahead(sealed, _whole(after, *found, what="the log"))


async def append(
    connection: Connection, nodes: Sequence[tuple[Node, bytes]], checkpoint: Checkpoint, note: str
) -> None:
    """Keep a checkpoint with the nodes that it completed, both or neither."""
    params = {
        "levels": [node.level for node, _ in nodes],
        "indexes": [node.index for node, _ in nodes],
        "hashes": [found for _, found in nodes],
        "size": Int8(checkpoint.size),
        "root": checkpoint.root,
        "sealed_at": checkpoint.sealed_at,
        "note": note,
    }
    await connection.execute(sql("seal_append").encode(), params, prepare=True)


async def frontier(connection: Connection, size: int) -> Frontier:
    """Give the tree over the first events, to grow on."""
    nodes = list(merkle.nodes_of(Span(0, size)))
    hash_of = await hashes(connection, nodes)
    return Frontier(size, map(hash_of, nodes))


async def hashes(connection: Connection, nodes: Iterable[Node]) -> HashOf:
    """Read what the hashes of these nodes follow from; SealBroken where something of it is missing."""
    tiles = {tile: await _tile(connection, tile) for tile in set(map(_tile_of, nodes))}
    return lambda node: _hash_in(tiles[_tile_of(node)], node)


async def proof_hashes(connection: Connection, spans: Iterable[Span]) -> HashOf:
    """Read what the roots of these subtrees follow from."""
    return await hashes(connection, [node for span in spans for node in merkle.nodes_of(span)])


def _tile_of(node: Node) -> Node:
    """Name the tile in which a node lies, by the node that the whole tile comes to."""
    base = node.level - node.level % TILE_LEVEL
    return Node(base + TILE_LEVEL, node.index >> base + TILE_LEVEL - node.level)


async def _tile(connection: Connection, tile: Node) -> bytes:
    level, start = tile.level - TILE_LEVEL, tile.index << TILE_LEVEL
    statement = sql("seal_nodes") if level else sql("seal_leaves")
    params = {"level": level, "start": Int8(start), "end": Int8(start + TILE)}
    [found] = await _rows(connection, statement, params)
    return _whole(start, *found, what=f"level {level} of the tree")


def _whole(start: int, hashes: int, reached: int, row: bytes, *, what: str) -> bytes:
    if reached - start != hashes or len(row) != hashes * HASH_BYTES:
        raise SealBroken(f"{what} lacks something between {start + 1} and {reached}")
    return row


def _hash_in(tile: bytes, node: Node) -> bytes:
    below = node.level % TILE_LEVEL
    size = HASH_BYTES << below
    start = (node.index << below) % TILE * HASH_BYTES
    row = tile[start : start + size]
    if len(row) != size:
        raise SealBroken(f"the tree lacks hashes over the positions {node.start + 1} to {node.end}")
    return merkle.row_hash(row)


async def _sealed(connection: Connection, statement: str, params: dict[str, object]) -> Sealed | None:
    rows = await _rows(connection, statement, params)
    return Sealed(*rows[0]) if rows else None


async def _rows(connection: Connection, statement: str, params: dict[str, Any]) -> list[tuple[Any, ...]]:
    cursor = connection.cursor(binary=True)
    await cursor.execute(statement.encode(), params, prepare=True)
    return await cursor.fetchall()
