"""Bodies of the feed: decoded strictly item by item, so that one wrong item does not keep the others out."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from api import bodies
from api.bodies import Body, Instant, Login, Money, Number
from ledger.commands import Access, BookDeal
from ledger.money import Amount, format_minor, parse_amount
from ledger.refusals import Refusal, ValidationError
from projections.feed import ItemRefused
from projections.online import Online
from projections.positions import Position, Positions
from projections.quotes import Quote, Quotes

QUOTES_MAX: Final = 10_000
POSITIONS_MAX: Final = 5_000
DEALS_MAX: Final = 10_000
ONLINE_MAX: Final = 100_000

Sequence = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Ticket = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Milliseconds = Annotated[int, Meta(ge=0, le=7_258_118_400_000)]  # up to the year 2200
SnapshotId = Annotated[str, Meta(min_length=1, max_length=128)]

I = TypeVar("I")  # noqa: E741 - an item
B = TypeVar("B")


class FeedBody(Body, frozen=True, kw_only=True):
    """What numbers a message of a stream."""

    epoch: Sequence | None = None
    seq: Sequence | None = None


class QuoteItem(msgspec.Struct, frozen=True, array_like=True, rename="camel", forbid_unknown_fields=True):
    """[symbol, bid, ask, timeMs?]."""

    symbol: str
    bid: Money
    ask: Money
    time_ms: Milliseconds | None = None

    def quote(self, index: int) -> Quote:
        """Give the quote."""
        return Quote(
            index=index,
            symbol=bodies.symbol_name(self.symbol),
            bid=price(self.bid, field="bid"),
            ask=price(self.ask, field="ask"),
            quoted_at=None if self.time_ms is None else _EPOCH + timedelta(milliseconds=self.time_ms),
        )


class QuotesBody(FeedBody, frozen=True, kw_only=True):
    """POST /feed/quotes; none is a sign of life."""

    quotes: Annotated[list[msgspec.Raw], Meta(max_length=QUOTES_MAX)]

    def message(self, access: Access) -> Quotes:
        """Give the message."""
        quotes, refused = _each(self.quotes, _quote, QuoteItem.quote)
        return Quotes(access=access, epoch=self.epoch, seq=self.seq, refused=refused, quotes=quotes)


class PositionItem(Body, frozen=True, kw_only=True):
    """An open position; money is signed, in the account's currency."""

    ticket: Ticket
    login: Login
    symbol: str
    side: Literal["buy", "sell"]
    lots: Money
    open_price: Money
    open_time: Instant | None = None
    storage: Money | msgspec.UnsetType = msgspec.UNSET
    commission: Money | msgspec.UnsetType = msgspec.UNSET
    profit: Money | msgspec.UnsetType = msgspec.UNSET
    margin: Money | msgspec.UnsetType = msgspec.UNSET

    def position(self, index: int) -> Position:
        """Give the position."""
        return Position(
            index=index,
            ticket=self.ticket,
            login=self.login,
            symbol=bodies.symbol_name(self.symbol),
            buy=self.side == "buy",
            lots=lots(self.lots),
            open_price=price(self.open_price, field="openPrice"),
            opened_at=bodies.instant(self.open_time, field="openTime", code="bad_time"),
            storage=money_or_none(self.storage, field="storage"),
            commission=money_or_none(self.commission, field="commission"),
            profit=money_or_none(self.profit, field="profit"),
            margin=money_or_none(self.margin, field="margin"),
        )


class PositionsBody(FeedBody, frozen=True, kw_only=True):
    """POST /feed/positions; an empty delta is a sign of life."""

    kind: Literal["snapshot", "delta"]
    snapshot_id: SnapshotId | None = None
    final: bool = True
    positions: Annotated[list[msgspec.Raw], Meta(max_length=POSITIONS_MAX)]
    closed: Annotated[list[Ticket], Meta(max_length=POSITIONS_MAX)] = msgspec.field(default_factory=list)

    def message(self, access: Access) -> Positions:
        """Give the message."""
        self._check()
        positions, refused = _each(self.positions, _position, PositionItem.position, named=_ticket)
        return Positions(
            access=access,
            epoch=self.epoch,
            seq=self.seq,
            refused=refused,
            kind=self.kind,
            snapshot_id=self.snapshot_id,
            final=self.final,
            positions=positions,
            closed=self.closed,
        )

    def _check(self) -> None:
        if self.kind == "snapshot":
            _refuse_field("closed", given=bool(self.closed), why="a snapshot closes what it does not name")
            if not self.final and self.snapshot_id is None:
                raise ValidationError(
                    "missing_field", "the parts of a snapshot share a snapshotId", field="snapshotId"
                )
        else:
            _refuse_field("snapshotId", given=self.snapshot_id is not None, why="a delta has no parts")
            _refuse_field("final", given=not self.final, why="a delta has no parts")
        if self.snapshot_id is not None:
            bodies.clean(self.snapshot_id, field="snapshotId")


class OnlineBody(FeedBody, frozen=True, kw_only=True):
    """POST /feed/online: exactly these are."""

    logins: Annotated[list[Login], Meta(max_length=ONLINE_MAX)]

    def message(self, access: Access) -> Online:
        """Give the message."""
        return Online(access=access, epoch=self.epoch, seq=self.seq, logins=self.logins)


class DealItem(Body, frozen=True, kw_only=True):
    """A closed deal; money is signed, in the account's currency."""

    deal_id: Annotated[str, Meta(min_length=1, max_length=64)] | Ticket
    login: Login
    symbol: str | None = None
    ticket: Number | None = None
    lots: Money | msgspec.UnsetType = msgspec.UNSET
    profit: Money
    storage: Money | msgspec.UnsetType = msgspec.UNSET
    commission: Money | msgspec.UnsetType = msgspec.UNSET
    taxes: Money | msgspec.UnsetType = msgspec.UNSET
    time: Instant | None = None

    def command(self) -> BookDeal:
        """Give the command."""
        return BookDeal(
            login=self.login,
            deal_id=deal_id(self.deal_id),
            symbol=None if self.symbol is None else bodies.symbol_name(self.symbol),
            ticket=self.ticket,
            lots=None if not_given(self.lots) else lots(self.lots),
            profit=parse_amount(self.profit, field="profit"),
            storage=money_or_none(self.storage, field="storage"),
            commission=money_or_none(self.commission, field="commission"),
            taxes=money_or_none(self.taxes, field="taxes"),
            time=bodies.instant(self.time, field="time", code="bad_effective_time"),
        )


class DealsBody(Body, frozen=True, kw_only=True):
    """POST /feed/deals: each item is decoded for itself."""

    deals: Annotated[list[msgspec.Raw], Meta(max_length=DEALS_MAX)]


def price(token: msgspec.Raw, *, field: str) -> str:
    """Parse a price exactly: up to 10 digits before the point and 10 after it, also below zero."""
    written = _PRICE.fullmatch(token)
    if written is None:
        raise ValidationError(
            "bad_price", f"{field} must be a plain decimal of up to 10 digits and 10 decimals", field=field
        )
    return written[2].decode()


def lots(token: msgspec.Raw | msgspec.UnsetType) -> str:
    """Parse a volume, which is above zero; the same text for the same value."""
    units, digits = bodies.positive(token, field="lots").normalized()
    return format_minor(units, digits)


def money_or_none(token: msgspec.Raw | msgspec.UnsetType, *, field: str) -> Amount | None:
    """Parse an amount of either sign, also zero; None where there is none."""
    if isinstance(token, msgspec.UnsetType) or not_given(token):
        return None
    return parse_amount(token, field=field)


def not_given(token: msgspec.Raw | msgspec.UnsetType) -> bool:
    """Tell whether a value is absent or null."""
    return isinstance(token, msgspec.UnsetType) or bytes(token) == b"null"


def deal_id(given: str | int) -> str:
    """Give a deal's id as text."""
    text = str(given)
    if not _DEAL_ID.fullmatch(text):
        raise ValidationError("bad_deal_id", "a dealId has 1..64 of A-Za-z0-9._:-", field="dealId")
    return text


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PRICE = re.compile(rb'("?)(-?(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,10})?)\1')
_DEAL_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_by_place = bodies.decoder(QuoteItem)
_PLACES: Final = {
    f"[{place}]": field.encode_name for place, field in enumerate(msgspec.structs.fields(QuoteItem))
}
_position = bodies.decoder(PositionItem)
_peek = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _each(
    items: list[msgspec.Raw],
    decode: Callable[[bytes], B],
    read: Callable[[B, int], I],
    *,
    named: Callable[[bytes], dict[str, int]] | None = None,
) -> tuple[list[I], list[ItemRefused]]:
    """Read items one by one; give those that are right, and those that are refused with their names."""
    found: list[I] = []
    refused: list[ItemRefused] = []
    for index, item in enumerate(items):
        try:
            found.append(read(decode(item), index))
        except Refusal as refusal:
            refused.append(ItemRefused(index, refusal, named(item) if named else {}))
    return found, refused


def _quote(item: bytes) -> QuoteItem:
    """Decode a quote; what is wrong is named, for nobody counts places."""
    try:
        return _by_place(item)
    except ValidationError as refusal:
        refusal.field = _PLACES.get(refusal.field or "", refusal.field)
        raise


def _ticket(item: bytes) -> dict[str, int]:
    """Give the ticket of a position, however wrong the rest of it is; nothing where it cannot be read."""
    try:
        return {"ticket": msgspec.json.decode(_peek.decode(item)["ticket"], type=Ticket)}
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        return {}


def _refuse_field(field: str, *, given: bool, why: str) -> None:
    if given:
        raise ValidationError("unknown_field", f"{field} is not a field here: {why}", field=field)
