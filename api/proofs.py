"""Proofs for auditors: the signed checkpoint, that an operation is under it, that the log has only grown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, UnsetType
from psycopg import AsyncConnection

from api import history
from api.audit import item_of, secrets_from
from api.history_reading import position_of
from api.middleware import Ask
from api.service import Service
from ledger import checkpoint, merkle
from ledger.checkpoint import NoteBroken
from ledger.codec import read_event
from ledger.events import Event, KeyCreated, KeyRevoked
from ledger.merkle import HashOf, Span
from ledger.refusals import Fault, NotFound, ValidationError
from projections import audit, seals
from projections.audit import Entry
from projections.seals import SealBroken, Sealed

Size = Annotated[int, Meta(ge=1, le=2**53 - 1)]
RETRY_AFTER_S: Final = 1

Connection = AsyncConnection[Any]


class CheckpointQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of GET /audit/checkpoint and of GET /audit/proof/{operationId}."""

    size: Size | None = None


class ConsistencyQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of GET /audit/consistency."""

    old: Size = msgspec.field(name="from")
    new: Size | None = msgspec.field(name="to", default=None)


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A checkpoint on the wire; `root` in hex, as all hashes are."""

    ledger: str
    size: int
    root: str
    sealed_at: datetime
    key_id: str
    note: str


class ProvenEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An event with its proof; `data` is null where its bytes may not be told, and `blanked` says why."""

    position: int
    leaf_hash: str
    data: Raw | None
    blanked: tuple[str, ...] | UnsetType
    proof: list[str]


class Proof(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """That an operation's events are under a checkpoint."""

    operation_id: str
    checkpoint: Checkpoint
    events: list[ProvenEvent]


class Consistency(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """That the log at one size begins with what it was at another."""

    ledger: str
    old: int = msgspec.field(name="from")
    new: int = msgspec.field(name="to")
    old_root: str = msgspec.field(name="fromRoot")
    new_root: str = msgspec.field(name="toRoot")
    proof: list[str]


async def read_checkpoint(service: Service, size: int | None) -> Checkpoint:
    """Give the newest checkpoint, or the one over so many events."""
    async with service.reading() as connection:
        return _told(await _sealed(connection, size))


async def read_proof(service: Service, ask: Ask, operation_id: str, size: int | None) -> Proof:
    """Prove that an operation is under a checkpoint."""
    async with service.reading() as connection:
        found = await _operation(connection, operation_id, ask)
        sealed = await _sealed(connection, size)
        last, _, _ = found[-1]
        if last > sealed.size:
            detail = f"{operation_id} ends at position {last}, the checkpoint is over {sealed.size} events"
            raise NotFound("not_sealed", detail, field="operationId", retry_after=RETRY_AFTER_S)
        events = [await _proven(connection, entry, sealed, ask) for entry in found]
    return Proof(operation_id=operation_id, checkpoint=_told(sealed), events=events)


async def read_consistency(service: Service, query: ConsistencyQuery) -> Consistency:
    """Prove that the log has only grown between two sizes."""
    async with service.reading() as connection:
        newest = await _sealed(connection, None)
        new = newest.size if query.new is None else query.new
        if query.old > new:
            raise ValidationError("bad_range", f"from {query.old} is beyond {new}", field="from")
        if new > newest.size:
            detail = f"the log is sealed up to position {newest.size}"
            raise NotFound("not_sealed", detail, field="to", retry_after=RETRY_AFTER_S)
        spans = merkle.consistency_spans(query.old, new)
        hash_of = await _hashes(connection, [*spans, Span(0, query.old), Span(0, new)])
    return Consistency(
        ledger=_origin(newest),
        old=query.old,
        new=new,
        old_root=merkle.root(query.old, hash_of).hex(),
        new_root=merkle.root(new, hash_of).hex(),
        proof=[found.hex() for found in merkle.consistency_proof(query.old, new, hash_of)],
    )


async def _sealed(connection: Connection, size: int | None) -> Sealed:
    found = await (seals.newest(connection) if size is None else seals.at(connection, size))
    if found is None and size is None:
        raise NotFound("not_sealed", "nothing is sealed yet", retry_after=RETRY_AFTER_S)
    if found is None:
        raise NotFound("unknown_checkpoint", f"there is no checkpoint over {size} events", field="size")
    return found


async def _operation(connection: Connection, operation_id: str, ask: Ask) -> list[Entry]:
    """Give the stored events of an operation that the key may be told of."""
    position = position_of(operation_id)
    entries = await audit.entries(connection, after=position - 1, limit=2)
    found = [(entry, _event(entry)) for entry in entries]
    found = [(entry, event) for entry, event in found if event.operation == position]
    events = [event for _, event in found]
    if not history.named(events, operation_id):
        raise NotFound("unknown_operation", f"there is no operation {operation_id}", field="operationId")
    if not (ask.access.everything and isinstance(events[0], KeyCreated | KeyRevoked)):
        await history.check_visible(connection, events, ask.access)
    return [entry for entry, _ in found]


async def _proven(connection: Connection, entry: Entry, sealed: Sealed, ask: Ask) -> ProvenEvent:
    position, _, leaf_hash = entry
    item = item_of(entry, secrets_from(ask.scopes))
    if item.blanked and item.type != KeyCreated.TOPIC:
        ask.key.need("users:pii")  # from the hash of text that can be guessed it could be found
    index = position - 1
    hash_of = await _hashes(connection, merkle.inclusion_spans(index, sealed.size))
    return ProvenEvent(
        position=position,
        leaf_hash=leaf_hash.hex(),
        data=None if item.blanked else item.data,
        blanked=item.blanked,
        proof=[found.hex() for found in merkle.inclusion_proof(index, sealed.size, hash_of)],
    )


async def _hashes(connection: Connection, spans: Sequence[Span]) -> HashOf:
    try:
        return await seals.proof_hashes(connection, spans)
    except SealBroken as error:
        raise _broken() from error


def _event(entry: Entry) -> Event:
    position, state, _ = entry
    return read_event(state, topic="", position=position)


def _told(sealed: Sealed) -> Checkpoint:
    return Checkpoint(
        ledger=_origin(sealed),
        size=sealed.size,
        root=sealed.root.hex(),
        sealed_at=sealed.sealed_at,
        key_id=checkpoint.key_ids(sealed.note)[0],
        note=sealed.note,
    )


def _origin(sealed: Sealed) -> str:
    try:
        return checkpoint.read(sealed.note).origin
    except NoteBroken as error:
        raise _broken() from error


def _broken() -> Fault:
    return Fault("seal_broken", "what was sealed is not all there: run `fundledger verify`")
