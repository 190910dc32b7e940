"""The scopes of keys, and the roles that are presets of them (domain rule 9)."""

from __future__ import annotations

from typing import Final

from ledger.events import Event, GroupDefined, ServerDefined, SimulationStarted, SymbolDefined

SCOPES: Final = (
    "users:read",
    "users:write",
    "users:pii",
    "groups:read",
    "groups:write",
    "symbols:read",
    "symbols:write",
    "server:read",
    "server:write",
    "accounts:read",
    "funding:deposit",
    "funding:withdraw",
    "funding:credit",
    "funding:transfer",
    "funding:adjust",
    "funding:correct",
    "history:read",
    "reports:read",
    "feed:write",
    "audit:read",
    "keys:read",
    "keys:write",
)
_READS = tuple(
    scope for scope in SCOPES if scope.endswith(":read") and not scope.startswith(("audit:", "keys:"))
)

ROLES: Final[dict[str, tuple[str, ...]]] = {
    "provisioning": (
        "users:read",
        "users:write",
        "users:pii",
        "groups:read",
        "symbols:read",
        "server:read",
        "accounts:read",
        "reports:read",
    ),
    "finance": (
        *(scope for scope in SCOPES if scope.startswith("funding:") and scope != "funding:correct"),
        "users:read",
        "groups:read",
        "accounts:read",
        "history:read",
        "server:read",
    ),
    "reporting": (*_READS, "users:pii"),
    "feed": ("feed:write", "symbols:read", "symbols:write"),
    "dealer": _READS,
    "manager": tuple(scope for scope in SCOPES if not scope.startswith("keys:")),
    "admin": SCOPES,
    "user": ("users:read", "accounts:read", "history:read"),
}

DEFINITIONS: Final[dict[type[Event], str]] = {
    GroupDefined: "groups:read",
    SymbolDefined: "symbols:read",
    ServerDefined: "server:read",
    SimulationStarted: "server:read",
}
"""The scope that reads what an event defined, whatever it is asked by."""
