"""Which routes an answer leads on to: what stands in it is what they take."""

from __future__ import annotations

from typing import Any, Final

import msgspec


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A route that can be called next, with what goes into its path, query or body."""

    to: str
    parameters: dict[str, str] = {}
    body: dict[str, Any] = {}


def _answered(field: str) -> str:
    return f"$response.body#/{field}"


_LOGIN: Final = {"login": _answered("login")}
_OPERATION: Final = {"operationId": _answered("operationId")}
_AFTER: Final = {"after": _answered("next")}

_BOOKED: Final = (
    Link(to="readOperation", parameters=_OPERATION),
    Link(to="reverse", parameters=_OPERATION),
    Link(to="correction", body=_LOGIN | {"corrects": _answered("operationId")}),
    Link(to="readRequest", parameters={"requestId": _answered("requestId")}),
    Link(to="readHistory", parameters=_LOGIN),
    Link(to="readAsof", parameters=_LOGIN | {"at": _answered("recordedAt")}),
)

LINKS: Final[dict[str, tuple[Link, ...]]] = {
    "open_account": (
        *(Link(to=name, parameters=_LOGIN) for name in ("readAccount", "updateAccount", "disableAccount")),
        *(Link(to=name, body=_LOGIN) for name in ("deposit", "withdraw", "credit", "adjust")),
        Link(to="transfer", body={"from": _answered("login")}),
        Link(to="transfer", body={"to": _answered("login")}),
    ),
    "disable_account": (Link(to="enableAccount", parameters=_LOGIN),),
    **dict.fromkeys(("deposit", "withdraw", "credit", "adjust", "correction"), _BOOKED),
    "transfer": _BOOKED[:2],
    "define_group": (Link(to="openAccount", body={"group": _answered("group")}),),
    "read_history": (Link(to="readHistory", parameters={"cursor": _answered("next")}),),
    "read_events": (Link(to="readEvents", parameters=_AFTER),),
    "read_refusals": (Link(to="readRefusals", parameters=_AFTER),),
}
"""By the name of the handler; the routes that follow are named by their operationId."""
