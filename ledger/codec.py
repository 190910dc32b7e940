"""How events travel to and from the event store library: our own bytes instead of its transcoder."""

from __future__ import annotations

from typing import Any

import msgspec
from eventsourcing.persistence import Mapper, StoredEvent, Transcoder

from ledger.events import Event, decode, encode

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding bytes raises that are no event of ours, damaged or forged."""


class UnknownEvent(Exception):
    """The log holds an event that this version cannot read; it is never skipped."""

    def __init__(self, *, position: int | None, topic: str, reason: str) -> None:
        where = "an event" if position is None else f"the event at position {position}"
        super().__init__(f"{where} of type {topic!r} cannot be read by this version: {reason}")
        self.position = position
        self.topic = topic


class BytesTranscoder(Transcoder):
    """Stands where the library wants a transcoder; the mapper does the whole work."""

    def encode(self, obj: Any) -> bytes:
        """Encode plain values as JSON."""
        return msgspec.json.encode(obj)

    def decode(self, data: bytes) -> Any:
        """Decode plain values from JSON."""
        return msgspec.json.decode(data)


class EventMapper(Mapper[str]):
    """Maps events to stored events and back; the stored bytes are the canonical ones."""

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        """Give the event as the log keeps it."""
        assert isinstance(domain_event, Event)
        return StoredEvent(
            originator_id=domain_event.stream,
            originator_version=domain_event.version,
            topic=domain_event.TOPIC,
            state=encode(domain_event),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """Give the event that was kept."""
        return read_event(stored_event.state, topic=stored_event.topic)


def read_event(state: bytes, *, topic: str, position: int | None = None) -> Event:
    """Read an event; UnknownEvent names the position of one that this version does not know."""
    try:
        return decode(state)
    except UNREADABLE as error:
        raise UnknownEvent(position=position, topic=topic, reason=str(error)) from error
