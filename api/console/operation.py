"""The operation page: its legs, who asked for it, its events as stored, what answers it, and its proof."""

from __future__ import annotations

from typing import Any

import msgspec

from api import history_reading, proofs
from api.answers import Body
from api.middleware import Ask
from api.proofs import Proof
from api.service import Service
from ledger import merkle
from ledger.refusals import Refusal


class StoredEvent(msgspec.Struct, frozen=True):
    """An event as it is stored: its bytes spaced out for reading, and their hash."""

    position: int
    text: str
    leaf_hash: str


async def told_of(service: Service, ask: Ask, operation_id: str) -> dict[str, Any]:
    """Give what the page tells of an operation."""
    body = await history_reading.operation_body(service, ask, operation_id)
    proof = await _proof(service, ask, operation_id) if "audit:read" in ask.scopes else None
    unproven = proof if isinstance(proof, Refusal) else None
    return _shown(body) | {"proof": None if unproven else proof, "unproven": unproven}


async def _proof(service: Service, ask: Ask, operation_id: str) -> Proof | Refusal:
    """Give the proof that the operation is sealed, or why there is none: the page is there all the same."""
    try:
        return await proofs.read_proof(service, ask, operation_id, None)
    except Refusal as refusal:
        return refusal


def _shown(body: Body) -> dict[str, Any]:
    events = [_stored(bytes(raw)) for raw in body.get("events", ())]
    first = msgspec.json.decode(bytes(body["events"][0])) if events else {}
    return {
        "operation": body,
        "legs": body.get("legs", [body]) if events else [],
        "events": events,
        "reversed_by": body.get("reversedBy"),
        "asked": {name: first.get(name) for name in ("operatorId", "keyId", "comment", "reason", "method")},
    }


def _stored(state: bytes) -> StoredEvent:
    spaced = msgspec.json.format(state, indent=2).decode()
    return StoredEvent(msgspec.json.decode(state)["position"], spaced, merkle.leaf_hash(state).hex())
