"""Bodies of requests: decoded strictly, amounts as their raw tokens, turned into commands.

The framework's own decoding goes through floats and converts loosely, so bodies are decoded here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
import msgspec.inspect
from msgspec import Meta

from ledger import commands
from ledger.commands import Command
from ledger.funding import ADJUST_KINDS
from ledger.money import Amount, check_currency, format_minor, parse_amount
from ledger.refusals import ValidationError

BODY_MAX: Final = 64 * 1024
BULK_BODY_MAX: Final = 16 * 1024 * 1024
NAME_MAX: Final = 64
"""How much is repeated of a name that nobody knows."""
DETAIL_MAX: Final = 300
"""How much is repeated of other words of a caller's."""

METADATA_MAX: Final = 4 * 1024
METADATA_DEPTH_MAX: Final = 32
YEARS: Final = range(1900, 2200)
SECONDS_MAX: Final = int(datetime(YEARS.stop, 1, 1, tzinfo=UTC).timestamp()) - 1
"""The last second of those years, since 1970."""

Login = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Comment = Annotated[str, Meta(max_length=512)]
Reference = Annotated[str, Meta(max_length=128)]
Method = Annotated[str, Meta(max_length=64)]
Instant = Annotated[datetime, Meta(tz=True)]
Text = Annotated[str, Meta(max_length=256)]
OperationId = Annotated[str, Meta(pattern=r"^bal_[1-9][0-9]{0,17}$")]
Leverage = Annotated[int, Meta(ge=1, le=100_000)]
Number = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Seconds = Annotated[int, Meta(ge=0, le=SECONDS_MAX)]
Money = msgspec.Raw

T = TypeVar("T")


class Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A body whose fields are camelCase on the wire and all known."""


class NoteBody(Body, frozen=True, kw_only=True):
    """What every money body may carry along."""

    comment: Comment | None = None
    reference: Reference | None = None
    method: Method | None = None
    effective_at: Instant | None = None
    metadata: dict[str, Any] | None = None

    def note(self) -> dict[str, Any]:
        """Give the fields of a note, checked."""
        return {
            "comment": text(self.comment, field="comment"),
            "reference": text(self.reference, field="reference"),
            "method": text(self.method, field="method"),
            "effective_at": instant(self.effective_at, field="effectiveAt", code="bad_effective_time"),
            "metadata": _metadata(self.metadata),
        }


class DepositBody(NoteBody, frozen=True, kw_only=True):
    """POST /balances/deposit."""

    login: Login
    amount: Money

    def command(self) -> Command:
        """Give the command."""
        return commands.Deposit(login=self.login, amount=positive(self.amount), **self.note())


class WithdrawBody(NoteBody, frozen=True, kw_only=True):
    """POST /balances/withdraw."""

    login: Login
    amount: Money

    def command(self) -> Command:
        """Give the command."""
        return commands.Withdraw(login=self.login, amount=positive(self.amount), **self.note())


class CreditBody(NoteBody, frozen=True, kw_only=True):
    """POST /balances/credit."""

    login: Login
    amount: Money
    expires_at: Instant | None = None

    def command(self) -> Command:
        """Give the command."""
        expires_at = instant(self.expires_at, field="expiresAt", code="bad_expiration")
        amount = signed(self.amount)
        return commands.GiveCredit(login=self.login, amount=amount, expires_at=expires_at, **self.note())


class TransferBody(NoteBody, frozen=True, kw_only=True):
    """POST /balances/transfer."""

    source: Login = msgspec.field(name="from")
    target: Login = msgspec.field(name="to")
    amount: Money

    def command(self) -> Command:
        """Give the command."""
        amount = positive(self.amount)
        return commands.Transfer(source=self.source, target=self.target, amount=amount, **self.note())


class CorrectionBody(Body, frozen=True, kw_only=True):
    """POST /balances/correction."""

    login: Login
    balance: Money | msgspec.UnsetType = msgspec.UNSET
    credit: Money | msgspec.UnsetType = msgspec.UNSET
    corrects: OperationId | None = None
    reason: Comment
    effective_at: Instant | None = None

    def command(self) -> Command:
        """Give the command."""
        balance, credit = optional(self.balance, field="balance"), optional(self.credit, field="credit")
        if balance is None and credit is None:
            raise ValidationError(
                "missing_field", "a correction needs balance, credit or both", field="balance"
            )
        return commands.Correct(
            login=self.login,
            balance=balance,
            credit=credit,
            corrects=None if self.corrects is None else position(self.corrects),
            reason=required_text(self.reason, field="reason"),
            effective_at=instant(self.effective_at, field="effectiveAt", code="bad_effective_time"),
        )


class ReverseBody(Body, frozen=True, kw_only=True):
    """POST /balances/operations/{operationId}/reverse."""

    reason: Comment


class AdjustBody(NoteBody, frozen=True, kw_only=True):
    """POST /balances/adjust."""

    login: Login
    kind: str
    amount: Money | msgspec.UnsetType = msgspec.UNSET
    credit: Money | msgspec.UnsetType = msgspec.UNSET

    def command(self) -> Command:
        """Give the command."""
        amount, credit = self._amounts()
        return commands.Adjust(login=self.login, kind=self.kind, amount=amount, credit=credit, **self.note())

    def _amounts(self) -> tuple[Amount | None, Amount | None]:
        if self.kind not in ADJUST_KINDS:
            raise ValidationError("bad_kind", f"kind is one of {', '.join(ADJUST_KINDS)}", field="kind")
        amount, credit = optional(self.amount, field="amount"), optional(self.credit, field="credit")
        if self.kind == "negative-balance":
            _refuse(amount, "negative-balance takes no amount: it brings the balance to zero", field="amount")
            return None, None if credit is None else positive(self.credit, field="credit")
        if self.kind == "opening":
            if amount is None and credit is None:
                raise ValidationError(
                    "missing_field", "an opening needs amount, credit or both", field="amount"
                )
            return amount, credit
        _refuse(credit, f"{self.kind} takes no credit", field="credit")
        if amount is None:
            raise ValidationError("missing_field", "amount is missing", field="amount")
        return positive(self.amount) if self.kind == "bonus-conversion" else amount, None


class ProfileBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of an account that POST and PATCH /users take, named as published."""

    name: Text | None = None
    leverage: Leverage | None = None
    email: Text | None = None
    country: Text | None = None
    phone: Text | None = None
    address: Text | None = None
    city: Text | None = None
    zipcode: Text | None = None
    comment: Comment | None = None
    magic: Number | None = None
    customer_id: Number | None = None
    enable: bool | Literal[0, 1] | None = None
    enable_read_only: bool | Literal[0, 1] | None = None
    enable_change_password: bool | Literal[0, 1] | None = None
    regdate: Seconds | None = None

    def fields(self) -> dict[str, Any]:
        """Give what was given, flags as booleans."""
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        for name in ("enable", "enable_read_only", "enable_change_password"):
            given[name] = None if given[name] is None else bool(given[name])
        for name, value in given.items():
            if isinstance(value, str):
                clean(value, field=name)
        return given


class OpenBody(ProfileBody, frozen=True, kw_only=True):
    """POST /users."""

    login: Login | None = None
    group: Text

    def command(self) -> Command:
        """Give the command."""
        return commands.OpenAccount(**self.fields())


class UpdateBody(ProfileBody, frozen=True, kw_only=True):
    """PATCH /users/{login}."""

    group: Text | None = None

    def command_for(self, login: int) -> Command:
        """Give the command for the login in the path."""
        fields = self.fields()
        if all(value is None for value in fields.values()):
            raise ValidationError("missing_field", "nothing to change was given")
        return commands.UpdateAccount(login=login, **fields)


class GroupBody(Body, frozen=True, kw_only=True):
    """PUT /groups/{group}."""

    currency: str
    digits: Annotated[int, Meta(ge=0, le=8)] | None = None
    leverage: Leverage | None = None
    equity_mode: Literal["gross", "net"] | None = None
    withdraw_policy: Literal["protect_credit", "mt"] | None = None
    refuse_when_stale: bool | None = None
    margin_call: Money | msgspec.UnsetType = msgspec.UNSET
    stop_out: Money | msgspec.UnsetType = msgspec.UNSET
    max_operation: Money | msgspec.UnsetType = msgspec.UNSET
    coverage: bool | None = None
    permissions: dict[str, Any] | None = None

    def command_for(self, group: str) -> Command:
        """Give the command for the group in the path."""
        return commands.DefineGroup(
            group=group_name(group),
            currency=check_currency(self.currency),
            digits=self.digits,
            leverage=self.leverage,
            equity_mode=self.equity_mode,
            withdraw_policy=self.withdraw_policy,
            refuse_when_stale=self.refuse_when_stale,
            margin_call=_level(self.margin_call, field="marginCall"),
            stop_out=_level(self.stop_out, field="stopOut"),
            max_operation=_ceiling(self.max_operation),
            coverage=self.coverage,
            permissions=_metadata(self.permissions, field="permissions"),
        )


class SymbolBody(Body, frozen=True, kw_only=True):
    """PUT /symbols/{symbol}."""

    digits: Annotated[int, Meta(ge=0, le=10)]
    contract_size: Money
    base_currency: str
    profit_currency: str
    margin_rate: Money | msgspec.UnsetType = msgspec.UNSET
    swap_long: Money | msgspec.UnsetType = msgspec.UNSET
    swap_short: Money | msgspec.UnsetType = msgspec.UNSET
    spread: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    trade_mode: Literal["full", "close_only", "disabled"] | None = None
    description: Text | None = None

    def command_for(self, symbol: str) -> Command:
        """Give the command for the symbol in the path."""
        return commands.DefineSymbol(
            symbol=symbol_name(symbol),
            digits=self.digits,
            contract_size=_plain(positive(self.contract_size, field="contractSize")),
            base_currency=check_currency(self.base_currency, field="baseCurrency"),
            profit_currency=check_currency(self.profit_currency, field="profitCurrency"),
            margin_rate=_rate(self.margin_rate, field="marginRate"),
            swap_long=_rate(self.swap_long, field="swapLong", signed=True),
            swap_short=_rate(self.swap_short, field="swapShort", signed=True),
            spread=self.spread,
            trade_mode=self.trade_mode,
            description=text(self.description, field="description"),
        )


class ServerBody(Body, frozen=True, kw_only=True):
    """PUT /server."""

    timezone: str
    day_end: str
    overnight_days: str
    book_currency: str

    def command(self) -> Command:
        """Give the command."""
        return commands.DefineServer(
            timezone=self.timezone,
            day_end=self.day_end,
            overnight_days=self.overnight_days,
            book_currency=check_currency(self.book_currency, field="bookCurrency"),
        )


class BatchBody(Body, frozen=True, kw_only=True):
    """POST /balances/batch: each item is decoded by its own op."""

    operations: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=10_000)]
    atomic: bool = False


def decoder(body: type[T]) -> Callable[[bytes], T]:
    """Give the strict decoder of a body, whose failures are refusals that name the field."""
    inner = msgspec.json.Decoder(body, float_hook=Decimal)

    def decode(data: bytes) -> T:
        try:
            return inner.decode(data)
        except msgspec.ValidationError as error:
            raise _wrong(str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValidationError("body_malformed", "the body is not valid JSON") from error
        except InvalidOperation as error:
            raise ValidationError("wrong_type", "a number in the body is beyond all bounds") from error

    return decode


def checked(values: dict[str, Any], body: type[T]) -> T:
    """Hold values against a body's types and bounds, as if they had come as JSON; failures name the field."""
    try:
        return msgspec.convert(values, body)
    except msgspec.ValidationError as error:
        raise _wrong(str(error)) from error


def converted(values: dict[str, str], query: type[T]) -> T:
    """Convert query parameters, which are all text, to a query; failures name the parameter."""
    readers = _readers(query)  # type: ignore[arg-type]
    return checked(
        {name: readers.get(name, str)(clean(value, field=name)) for name, value in values.items()}, query
    )


def positive(token: msgspec.Raw | msgspec.UnsetType, *, field: str = "amount") -> Amount:
    """Parse an amount that must be above zero."""
    amount = signed(token, field=field)
    if amount.negative:
        raise ValidationError("amount_not_positive", f"{field} must be above zero", field=field)
    return amount


def signed(token: msgspec.Raw | msgspec.UnsetType, *, field: str = "amount") -> Amount:
    """Parse an amount that must not be zero."""
    if isinstance(token, msgspec.UnsetType):
        raise ValidationError("missing_field", f"{field} is missing", field=field)
    amount = parse_amount(token, field=field)
    if amount.is_zero:
        raise ValidationError("amount_zero", f"{field} must not be zero", field=field)
    return amount


def optional(token: msgspec.Raw | msgspec.UnsetType, *, field: str) -> Amount | None:
    """Parse an amount that may be absent, or null, but not zero."""
    if isinstance(token, msgspec.UnsetType) or bytes(token) == b"null":
        return None
    return signed(token, field=field)


def position(operation_id: str) -> int:
    """Give the position that a money operation's id names."""
    if not _OPERATION_ID.fullmatch(operation_id):
        raise ValidationError(
            "bad_operation_id", "an operation id reads bal_ and a number", field="operationId"
        )
    return int(operation_id[4:])


def instant(value: datetime | None, *, field: str, code: str) -> datetime | None:
    """Give an instant in UTC, refusing one outside of any books."""
    if value is None:
        return None
    if value.year not in YEARS:
        raise ValidationError(code, f"{field} lies outside of {YEARS[0]}..{YEARS[-1]}", field=field)
    return value.astimezone(UTC)


def day(value: date | None, *, field: str) -> date | None:
    """Give a server day, refusing one outside of any books."""
    if value is not None and value.year not in YEARS:
        raise ValidationError("bad_date", f"{field} lies outside of {YEARS[0]}..{YEARS[-1]}", field=field)
    return value


def text(value: str | None, *, field: str) -> str | None:
    """Give a clean text; an empty one counts as not given."""
    return clean(value, field=field) if value else None


def required_text(value: str, *, field: str) -> str:
    """Give a clean text that is not blank."""
    if not value.strip():
        raise ValidationError("missing_field", f"{field} must say something", field=field)
    return clean(value, field=field)


def clean(value: str, *, field: str) -> str:
    """Refuse text that the database cannot hold: it would fail its neighbours in a batch too."""
    if _NOT_TEXT.search(value):
        raise ValidationError("bad_text", f"{field} holds a NUL or half a character", field=field)
    return value


def group_name(value: str) -> str:
    """Give the name of a group: what a mask can select without ambiguity."""
    if not _GROUP.fullmatch(value):
        raise ValidationError(
            "bad_group",
            "a group's name has 1..64 characters, none of them blank, comma, * or !",
            field="group",
        )
    return clean(value, field="group")


def symbol_name(value: str, *, field: str = "symbol") -> str:
    """Give the name of a symbol."""
    if not _SYMBOL.fullmatch(value):
        detail = f"{field} has 1..32 characters, none of them blank or /"
        raise ValidationError("bad_symbol", detail, field=field)
    return clean(value, field=field)


@cache
def _readers(query: type) -> dict[str, Callable[[str], object]]:
    """Say by the names of parameters how those that are no text are read; what they cannot be stays text."""
    info = msgspec.inspect.type_info(query)
    assert isinstance(info, msgspec.inspect.StructType)
    return {
        field.encode_name: _READERS[type(kind)]
        for field in info.fields
        for kind in (field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,))
        if type(kind) in _READERS
    }


def _whole(text: str) -> int | str:
    return int(text) if _WHOLE.fullmatch(text) else text


def _flag(text: str) -> bool | str:
    return _FLAGS.get(text.lower(), text)


_READERS: Final[dict[type, Callable[[str], object]]] = {
    msgspec.inspect.IntType: _whole,
    msgspec.inspect.BoolType: _flag,
}
_FLAGS: Final = {"0": False, "1": True, "false": False, "true": True}
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_SYMBOL = re.compile(r"[^\s/\x00-\x1f\x7f]{1,32}")
_NOT_TEXT = re.compile(r"[\x00\ud800-\udfff]")
_OPERATION_ID = re.compile(r"bal_[1-9][0-9]{0,17}")
_GROUP = re.compile(r"[^\s,*!\x00-\x1f\x7f]{1,64}")
_QUOTED = re.compile(r"`([^`]*)`")
_AT: Final = " - at `$"


def _wrong(message: str) -> ValidationError:
    """Make a refusal of msgspec's words: missing field, unknown field, or wrong type.

    They repeat what the caller sent, whatever its length.
    """
    at = message.rfind(_AT)
    words, path = (message, "") if at < 0 else (message[:at], message[at + len(_AT) : -1])
    where = path.removeprefix(".")[:DETAIL_MAX]
    quoted = _QUOTED.search(words)
    if quoted and "missing required field" in words:
        return ValidationError("missing_field", f"{quoted[1]} is missing", field=_join(where, quoted[1]))
    if quoted and "unknown field" in words:
        name = quoted[1][:NAME_MAX]
        return ValidationError("unknown_field", f"{name} is not a field here", field=_join(where, name))
    return ValidationError("wrong_type", words[:DETAIL_MAX], field=where or None)


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _refuse(amount: Amount | None, detail: str, *, field: str) -> None:
    if amount is not None:
        raise ValidationError("unknown_field", detail, field=field)


def _metadata(value: dict[str, Any] | None, *, field: str = "metadata") -> dict[str, Any] | None:
    if value is None:
        return None
    _clean_tree(value, field)
    if len(msgspec.json.encode(value)) > METADATA_MAX:
        raise ValidationError(
            "metadata_too_large", f"{field} is larger than {METADATA_MAX} bytes", field=field
        )
    return value


def _clean_tree(value: object, field: str, depth: int = 0) -> None:
    if depth > METADATA_DEPTH_MAX:
        detail = f"{field} is nested deeper than {METADATA_DEPTH_MAX} levels"
        raise ValidationError("metadata_too_large", detail, field=field)
    if isinstance(value, str):
        clean(value, field=field)
    elif isinstance(value, dict):
        for key, inner in value.items():
            clean(key, field=field)
            _clean_tree(inner, field, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _clean_tree(inner, field, depth + 1)


def _level(token: msgspec.Raw | msgspec.UnsetType, *, field: str) -> str | None:
    """Parse a margin level in percent."""
    amount = optional(token, field=field)
    if amount is None:
        return None
    if amount.negative:
        raise ValidationError("amount_not_positive", f"{field} must be above zero", field=field)
    return _plain(amount)


def _rate(token: msgspec.Raw | msgspec.UnsetType, *, field: str, signed: bool = False) -> str | None:
    """Parse a decimal that may be zero, and below it where it is signed."""
    if isinstance(token, msgspec.UnsetType) or bytes(token) == b"null":
        return None
    amount = parse_amount(token, field=field)
    if amount.negative and not signed:
        raise ValidationError("amount_not_positive", f"{field} must not be below zero", field=field)
    return _plain(amount)


def _plain(amount: Amount) -> str:
    """Give an amount as text without trailing zero decimals: the same text for the same value."""
    units, digits = amount.normalized()
    return format_minor(units, digits)


def _ceiling(token: msgspec.Raw | msgspec.UnsetType) -> Amount | None:
    amount = optional(token, field="maxOperation")
    return None if amount is None else positive(token, field="maxOperation")
