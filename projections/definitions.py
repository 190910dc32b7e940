"""Groups, symbols, the server's clock and keys as rows: how events change them, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from ledger.clock import ServerClock
from ledger.definitions import Definitions, Group
from ledger.events import (
    Event,
    GroupDefined,
    KeyCreated,
    KeyRevoked,
    ServerDefined,
    SimulationStarted,
    SymbolDefined,
    to_json,
)
from projections.statements import Statement, fields_of

ALL = (
    'SELECT g."position", g.group_name, g.version, g.currency, g.digits, g.leverage, g.equity_mode,'
    " g.withdraw_policy, g.refuse_when_stale, g.margin_call, g.stop_out, g.max_operation, g.coverage,"
    ' g.permissions, s."position", s.version, s.timezone, s.day_end, s.overnight_days, s.book_currency,'
    ' s.simulated_from FROM groups g FULL JOIN server s ON true ORDER BY g."position"'
)
"""One statement, so that all is of one moment: groups by position, the server beside each of them."""

_OF_GROUP = 14
_PUT_GROUP = (
    'INSERT INTO groups ("position", group_name, version, currency, digits, leverage, equity_mode,'
    " withdraw_policy, refuse_when_stale, margin_call, stop_out, max_operation, coverage, permissions)"
    " VALUES (%(position)s, %(group)s, %(version)s, %(currency)s, %(digits)s, %(leverage)s, %(equity_mode)s,"
    " %(withdraw_policy)s, %(refuse_when_stale)s, %(margin_call)s, %(stop_out)s, %(max_operation)s,"
    " %(coverage)s, %(permissions)s)"
    ' ON CONFLICT (group_name) DO UPDATE SET "position" = excluded."position", version = excluded.version,'
    " leverage = excluded.leverage, equity_mode = excluded.equity_mode,"
    " withdraw_policy = excluded.withdraw_policy, refuse_when_stale = excluded.refuse_when_stale,"
    " margin_call = excluded.margin_call, stop_out = excluded.stop_out,"
    " max_operation = excluded.max_operation, coverage = excluded.coverage,"
    " permissions = excluded.permissions"
)
_PUT_SYMBOL = (
    'INSERT INTO symbols (symbol, "position", version, digits, contract_size, base_currency,'
    " profit_currency, margin_rate, swap_long, swap_short, spread, trade_mode, description)"
    " VALUES (%(symbol)s, %(position)s, %(version)s, %(digits)s, %(contract_size)s::numeric,"
    " %(base_currency)s, %(profit_currency)s, %(margin_rate)s::numeric, %(swap_long)s::numeric,"
    " %(swap_short)s::numeric, %(spread)s, %(trade_mode)s, %(description)s)"
    ' ON CONFLICT (symbol) DO UPDATE SET "position" = excluded."position", version = excluded.version,'
    " digits = excluded.digits, contract_size = excluded.contract_size,"
    " base_currency = excluded.base_currency, profit_currency = excluded.profit_currency,"
    " margin_rate = excluded.margin_rate, swap_long = excluded.swap_long, swap_short = excluded.swap_short,"
    " spread = excluded.spread, trade_mode = excluded.trade_mode, description = excluded.description"
)
_PUT_SERVER = (
    'INSERT INTO server (one, "position", version, timezone, day_end, overnight_days, book_currency)'
    " VALUES (true, %(position)s, %(version)s, %(timezone)s, %(day_end)s, %(overnight_days)s,"
    " %(book_currency)s)"
    ' ON CONFLICT (one) DO UPDATE SET "position" = excluded."position", version = excluded.version,'
    " timezone = excluded.timezone, day_end = excluded.day_end,"
    " overnight_days = excluded.overnight_days, book_currency = excluded.book_currency"
)
_SIMULATE = (
    'INSERT INTO server (one, "position", version, timezone, day_end, overnight_days, book_currency,'
    " simulated_from) VALUES (true, %(position)s, %(version)s, %(timezone)s, %(day_end)s, %(overnight_days)s,"
    " %(book_currency)s, %(starts_at)s)"
    ' ON CONFLICT (one) DO UPDATE SET "position" = excluded."position", version = excluded.version,'
    " simulated_from = excluded.simulated_from"
)
_ADD_KEY = (
    'INSERT INTO keys (key_id, version, "position", name, role, scopes, groups, logins, amount_max,'
    " amount_day_max, secret_hash, created_at, expires_at, replaces) VALUES (%(key)s, %(version)s,"
    " %(position)s, %(name)s, %(role)s, %(scopes)s, %(groups)s, %(logins)s, %(amount_max)s,"
    " %(amount_day_max)s, %(secret_hash)s, %(recorded_at)s, %(expires_at)s, %(replaces)s)"
)
_REVOKE_KEY = (
    "UPDATE keys SET version = %(version)s, revoked_at = least(revoked_at, %(revoked_at)s)"
    " WHERE key_id = %(key)s"
)
_tree = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def statements(event: Event) -> list[Statement]:
    """Give the statements by which the event changes these rows."""
    match event:
        case GroupDefined():
            permissions = None if event.permissions is None else to_json(event.permissions).decode()
            return [(_PUT_GROUP, fields_of(event) | {"permissions": permissions})]
        case SymbolDefined():
            return [(_PUT_SYMBOL, fields_of(event))]
        case ServerDefined():
            return [(_PUT_SERVER, fields_of(event))]
        case SimulationStarted():
            return [(_SIMULATE, fields_of(event) | _new_server())]
        case KeyCreated():
            lists = {"scopes": list(event.scopes), "logins": _list(event.logins)}
            return [(_ADD_KEY, fields_of(event) | lists)]
        case KeyRevoked():
            return [(_REVOKE_KEY, fields_of(event))]
        case _:
            return []


def loaded(rows: Sequence[Any]) -> Definitions:
    """Make definitions of the rows of `ALL`."""
    known = [_group(row) for row in rows if row[0] is not None]
    definitions = Definitions(
        position=max((row[0] or 0 for row in rows), default=0),
        groups={group.group: group for group in known},
        digits={group.currency: group.digits for group in known},
    )
    if not rows or rows[0][_OF_GROUP] is None:
        return definitions
    position, version, timezone, day_end, overnight_days, book_currency, simulated_from = rows[0][_OF_GROUP:]
    return msgspec.structs.replace(
        definitions,
        position=max(definitions.position, position),
        clock=ServerClock(timezone=timezone, day_end=day_end, overnight_days=overnight_days),
        book_currency=book_currency,
        server_version=version,
        simulated_from=simulated_from,
    )


def _group(row: Any) -> Group:
    values = dict(zip(Group.__struct_fields__[:-1], (row[1], *row[3:_OF_GROUP]), strict=True))
    permissions = values["permissions"]
    values["permissions"] = None if permissions is None else _tree.decode(permissions)
    return Group(**values, version=row[2])


def _new_server() -> dict[str, Any]:
    new = Definitions()
    return {
        "timezone": new.clock.timezone,
        "day_end": new.clock.day_end,
        "overnight_days": new.clock.overnight_days,
        "book_currency": new.book_currency,
    }


def _list(values: tuple[int, ...] | None) -> list[int] | None:
    return None if values is None else list(values)
