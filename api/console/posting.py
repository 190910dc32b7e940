"""The forms that move money: their fields, how these become the API's bodies, and what a preview tells.

A form makes its request id when it is opened, and keeps it over preview, booking and every repeat: what is
sent twice is booked once, as with any other caller of the API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import uuid4

import msgspec

from api import bodies
from api.answers import Body
from api.console.exchange import Fields
from api.console.writing import text
from api.middleware import Ask, introduce
from api.service import Service
from ledger.clock import ServerClock
from ledger.commands import Command, Reverse
from ledger.events import to_json
from ledger.refusals import ValidationError

FieldKind = Literal["login", "amount", "text", "long", "time", "operation"]


class Field(msgspec.Struct, frozen=True):
    """One field of a form; `name` is that of the API's body."""

    name: str
    label: str
    kind: FieldKind = "text"
    needed: bool = False
    hint: str = ""


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """One way to move money."""

    name: str
    title: str
    scope: str
    says: str
    fields: tuple[Field, ...]
    command: Callable[[Mapping[str, Any]], Command]


class Posted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a form: the API's answer, whether it was booked before, and whose accounts they are."""

    body: Body
    again: bool
    names: Mapping[int, str] = {}

    @property
    def legs(self) -> list[Body]:
        """What each account held before, what changes, and what it holds then."""
        return [leg | _before(leg) for leg in self.body.get("legs", [self.body])]


def new_request_id() -> str:
    """Make the request id of a form that is opened."""
    return f"console-{uuid4().hex}"


async def post(service: Service, ask: Ask, form: Form, fields: Fields, *, dry_run: bool) -> Posted:
    """Have a form carried out, or decided only; a repeat gets the first answer again."""
    names = {field.name for field in form.fields}
    if unknown := sorted(fields.keys() - names - {"requestId", "step"}):
        raise ValidationError("unknown_field", f"{unknown[0]} is not a field here", field=unknown[0])
    clock = service.writer.definitions.clock
    values = {
        field.name: _value(field, fields[field.name], clock) for field in form.fields if fields[field.name]
    }
    body, again = await service.carry_out(_ask(ask, fields), form.command(values), dry_run=dry_run)
    legs = body.get("legs", [body]) if dry_run else []
    return Posted(
        body=body, again=again, names={leg["login"]: await _name(service, ask, leg) for leg in legs}
    )


async def _name(service: Service, ask: Ask, leg: Body) -> str:
    """Tell whose account it is, to those who may know: a wrong login is the usual slip."""
    if "users:read" not in ask.scopes:
        return ""
    profile = await service.profile(leg["login"], ask)
    return f"{profile['name']} {profile['group']}".strip()


def _ask(ask: Ask, fields: Fields) -> Ask:
    """Ask under the form's own request id, as an Idempotency-Key: then a repeat is no refusal."""
    operator = ask.caller.operator_id
    headers = {b"idempotency-key": fields["requestId"].encode()}
    return introduce(headers | ({} if operator is None else {b"x-operator-id": operator.encode()}), ask.key)


def _value(field: Field, value: str, clock: ServerClock) -> object:
    """Give a value as the API's body has it: it is the API that judges it."""
    match field.kind:
        case "login":
            return int(value) if value.isascii() and value.isdigit() and len(value) < 17 else value
        case "time":
            return clock.instant(_wall(field, value))
        case _:
            return value


def _wall(field: Field, value: str) -> datetime:
    try:
        wall = datetime.fromisoformat(value)
    except ValueError as error:
        detail = f"{field.label} must be a date and a time, such as 2026-11-20 14:30"
        raise ValidationError("wrong_type", detail, field=field.name) from error
    if wall.tzinfo is not None:
        raise ValidationError("wrong_type", f"{field.label} is server time, without a zone", field=field.name)
    return wall


def _before(leg: Body) -> Body:
    """Tell what an account held before, from what it holds after and what changes."""
    return {
        f"{name}Before": Decimal(text(leg[f"new{name.capitalize()}"])) - Decimal(text(leg[f"{name}Change"]))
        for name in ("balance", "credit")
    }


def _of(body: type[Any]) -> Callable[[Mapping[str, Any]], Command]:
    decode = bodies.decoder(body)

    def command(values: Mapping[str, Any]) -> Command:
        made: Command = decode(to_json(values)).command()
        return made

    return command


_decode_reverse = bodies.decoder(bodies.ReverseBody)


def _reverse(values: Mapping[str, Any]) -> Command:
    operation = bodies.position(str(values.get("operationId", "")))
    body = _decode_reverse(to_json({name: value for name, value in values.items() if name != "operationId"}))
    return Reverse(operation=operation, reason=bodies.required_text(body.reason, field="reason"))


_LOGIN: Final = Field("login", "Login", "login", needed=True)
_AMOUNT: Final = Field("amount", "Amount", "amount", needed=True)
_NOTES: Final = (
    Field("method", "Method", hint="card, wire, ..."),
    Field("reference", "Reference", hint="the payment provider's own id; with a method it is booked once"),
    Field("comment", "Comment", "long"),
    Field("effectiveAt", "Effective at", "time", hint="when it happened, if not now"),
)
_REASON: Final = Field("reason", "Reason", "long", needed=True, hint="stands in the history for ever")
_CORRECTS: Final = Field(
    "corrects", "Corrects", "operation", hint="the operation that was wrong, such as bal_42"
)

FORMS: Final = {
    form.name: form
    for form in (
        Form(
            name="deposit",
            title="Deposit",
            scope="funding:deposit",
            says="Puts client money in.",
            fields=(_LOGIN, _AMOUNT, *_NOTES),
            command=_of(bodies.DepositBody),
        ),
        Form(
            name="withdraw",
            title="Withdraw",
            scope="funding:withdraw",
            says="Takes client money out, at most what is withdrawable.",
            fields=(_LOGIN, _AMOUNT, *_NOTES),
            command=_of(bodies.WithdrawBody),
        ),
        Form(
            name="credit",
            title="Credit",
            scope="funding:credit",
            says="Gives the broker's bonus money, or takes it out by an amount below zero.",
            fields=(
                _LOGIN,
                msgspec.structs.replace(_AMOUNT, hint="below zero takes credit out"),
                Field("expiresAt", "Expires at", "time", hint="goes out at the close of that server day"),
                *_NOTES,
            ),
            command=_of(bodies.CreditBody),
        ),
        Form(
            name="transfer",
            title="Transfer",
            scope="funding:transfer",
            says="Moves client money between two accounts of one currency, both or none.",
            fields=(
                Field("from", "From login", "login", needed=True),
                Field("to", "To login", "login", needed=True),
                _AMOUNT,
                *_NOTES,
            ),
            command=_of(bodies.TransferBody),
        ),
        Form(
            name="correction",
            title="Correct",
            scope="funding:correct",
            says="Puts a mistake right beside it, by signed changes. Nothing that was booked is changed.",
            fields=(
                _LOGIN,
                Field("balance", "Balance change", "amount", hint="signed"),
                Field("credit", "Credit change", "amount", hint="signed"),
                _CORRECTS,
                _REASON,
                Field("effectiveAt", "Effective at", "time", hint="when it happened, if not now"),
            ),
            command=_of(bodies.CorrectionBody),
        ),
        Form(
            name="reverse",
            title="Reverse",
            scope="funding:correct",
            says="Books the exact opposite of every leg of an operation, once.",
            fields=(
                Field("operationId", "Operation", "operation", needed=True, hint="such as bal_42"),
                _REASON,
            ),
            command=_reverse,
        ),
    )
}
"""The forms by name, in their order."""
