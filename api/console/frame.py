"""What stands around every page: whose ledger it is, who has signed in, where they may go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from api.exchange import HttpRequest
from api.middleware import Ask
from ledger.commands import Access

if TYPE_CHECKING:
    from api.console.console import Console


class Place(msgspec.Struct, frozen=True):
    """A page that people go to; `scopes` are those of which any one shows it."""

    label: str
    path: str
    scopes: tuple[str, ...]
    whole_groups: bool = False

    def shown_to(self, scopes: frozenset[str], access: Access) -> bool:
        """Tell whether a key finds anything there."""
        return bool(scopes & {*self.scopes}) and not (self.whole_groups and access.logins is not None)


POSTING: Final = (
    *("funding:deposit", "funding:withdraw", "funding:credit", "funding:transfer", "funding:correct"),
)
PLACES: Final = (
    Place("Accounts", "/accounts", ("accounts:read",)),
    Place("History", "/history", ("history:read",)),
    Place("Days", "/days", ("reports:read",), whole_groups=True),
    Place("Booked later", "/restatements", ("history:read",)),
    Place("Post", "/post", POSTING),
)


def places_of(ask: Ask) -> list[Place]:
    """Give the places that a key may go to."""
    return [place for place in PLACES if place.shown_to(ask.scopes, ask.access)]


def frame_of(request: HttpRequest, console: Console) -> dict[str, Any]:
    """Give what the template of the frame needs; without a session it says only whose ledger it is."""
    state = request.scope["state"]
    ask, session = state.get("ask"), state.get("session")
    definitions = console.service.writer.definitions
    return {
        "ledger": console.service.ledger,
        "simulated_from": definitions.simulated_from,
        "clock": definitions.clock,
        "ask": ask,
        "session": session,
        "places": [] if ask is None or session is None else places_of(ask),
        "here": request.scope["path"],
    }
