"""The rules of money: what each money command does to accounts, or why it is refused.

Amounts come in as written by the caller and become minor units here, at the account's digits.
Nothing here knows the time, the database or HTTP: the book brings all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from fractions import Fraction

from ledger.account import Account, credit_taken
from ledger.book import Book, Operation, moved
from ledger.commands import (
    Adjust,
    BookDeal,
    Command,
    Correct,
    Deposit,
    ExpireCredit,
    GiveCredit,
    Note,
    Request,
    Reverse,
    Transfer,
    Withdraw,
    expiry_of,
)
from ledger.events import SCHEMA, Deal, Event, GrantChange, MoneyMoved
from ledger.figures import Worth
from ledger.money import Amount, format_minor
from ledger.refusals import AlreadyApplied, ManagerOffline, NotFound, PermissionDenied, ValidationError

BALANCE_MAX = 2**61
"""So that balance, credit and figures of an account add up within a bigint."""

CLOCKS_APART = timedelta(minutes=1)
"""A trading server whose clock runs ahead by less does not lose its deals."""

ADJUST_KINDS = (
    "charge",
    "commission",
    "agent",
    "rebate",
    "interest",
    "dividend",
    "tax",
    "bonus-conversion",
    "negative-balance",
    "opening",
)


def deposit(book: Book, request: Request, command: Deposit) -> list[Event]:
    """Book a deposit; a disabled account takes it too, with a warning."""
    account = book.accounts[command.login]
    amount = _minor(book, account, command.amount)
    return [_booked(book, request, account, kind="deposit", amount=amount, balance=amount)]


def withdraw(book: Book, request: Request, command: Withdraw) -> list[Event]:
    """Book a withdrawal of at most the withdrawable amount."""
    account = book.accounts[command.login]
    _check_enabled(account)
    amount = _minor(book, account, command.amount)
    stale = _check_withdrawable(book, account, amount)
    return [_booked(book, request, account, kind="withdrawal", amount=amount, balance=-amount, stale=stale)]


def give_credit(book: Book, request: Request, command: GiveCredit) -> list[Event]:
    """Book credit in, with or without an expiry, or credit out."""
    account = book.accounts[command.login]
    amount = _minor(book, account, command.amount)
    if command.expires_at is not None and (amount < 0 or command.expires_at <= book.moment.recorded_at):
        raise ValidationError(
            "bad_expiration", "expiresAt must be in the future, on credit that comes in", field="expiresAt"
        )
    stale = amount < 0 and _check_credit_free(book, account, -amount, command)
    return [
        _booked(
            book,
            request,
            account,
            kind="credit",
            amount=amount,
            credit=amount,
            grants=_used_up(account, amount),
            expires_at=command.expires_at,
            stale=stale,
        )
    ]


def transfer(book: Book, request: Request, command: Transfer) -> list[Event]:
    """Book both legs of a transfer, or none."""
    source, target = book.accounts[command.source], book.accounts[command.target]
    _check_enabled(source)
    if source.login == target.login:
        raise ValidationError("same_login", "from and to must be two different logins", field="to")
    if source.currency != target.currency:
        raise ValidationError(
            "currency_mismatch",
            f"{source.currency} cannot be moved to a {target.currency} account",
            field="to",
        )
    amount = _minor(book, source, command.amount)
    _minor(book, target, command.amount)  # the ceiling of either group holds
    stale = _check_withdrawable(book, source, amount)
    return [
        _booked(
            book,
            request,
            source,
            kind="transfer",
            amount=amount,
            balance=-amount,
            peer=target.login,
            stale=stale,
        ),
        _booked(
            book, request, target, leg=1, kind="transfer", amount=amount, balance=amount, peer=source.login
        ),
    ]


def correct(book: Book, request: Request, command: Correct) -> list[Event]:
    """Book a correction; it may take the balance below zero, never the credit."""
    account = book.accounts[command.login]
    balance = 0 if command.balance is None else _minor(book, account, command.balance)
    credit = 0 if command.credit is None else _minor(book, account, command.credit)
    _check_credit(account, -credit, command)
    return [
        _booked(
            book,
            request,
            account,
            kind="correction",
            amount=balance or credit,
            balance=balance,
            credit=credit,
            grants=_used_up(account, credit, first=command.corrects),
            corrects=command.corrects,
            reason=command.reason,
        )
    ]


def reverse(book: Book, request: Request, command: Reverse) -> list[Event]:
    """Book the exact opposite of every leg of an operation."""
    target = book.operations[command.operation]
    _check_reversible(book, target)
    return [_reversal(book, request, leg, number) for number, leg in enumerate(_legs(target))]


def adjust(book: Book, request: Request, command: Adjust) -> list[Event]:
    """Book one of the platforms' other kinds."""
    account = book.accounts[command.login]
    balance, credit = _ADJUSTED.get(command.kind, _plain)(book, account, command)
    _check_credit(account, -credit, command)
    return [
        _booked(
            book,
            request,
            account,
            kind=command.kind,
            amount=balance or credit,
            balance=balance,
            credit=credit,
            grants=_used_up(account, credit),
        )
    ]


def book_deal(book: Book, request: Request, command: BookDeal) -> list[Event]:
    """Book a closed deal's result; it may take the balance below zero, and no ceiling holds it up."""
    account = book.accounts[command.login]
    if command.symbol is not None and command.symbol not in book.symbols:
        raise ValidationError("unknown_symbol", f"there is no symbol {command.symbol}", field="symbol")
    recorded_at = book.moment.recorded_at
    if command.time is not None and command.time > recorded_at + CLOCKS_APART:
        raise ValidationError("bad_effective_time", "time must not be in the future", field="time")
    deal = _deal(command, account.digits)
    result = deal.profit + deal.storage + deal.commission + deal.taxes
    late = command.time is not None and command.time < recorded_at
    return [
        _booked(
            book,
            request,
            account,
            kind="trade",
            amount=result,
            balance=result,
            effective_at=command.time if late else None,
            deal=deal,
        )
    ]


def _deal(command: BookDeal, digits: int) -> Deal:
    return Deal(
        deal_id=command.deal_id,
        symbol=command.symbol,
        ticket=command.ticket,
        lots=command.lots,
        profit=command.profit.minor(digits),
        storage=0 if command.storage is None else command.storage.minor(digits),
        commission=0 if command.commission is None else command.commission.minor(digits),
        taxes=0 if command.taxes is None else command.taxes.minor(digits),
        time=command.time,
    )


def expire_credit(book: Book, request: Request, command: ExpireCredit) -> list[Event]:
    """Take out what is left of a grant whose server day has closed; nothing where nothing is left."""
    account = book.accounts[command.login]
    grant = next((grant for grant in account.grants if grant.grant == command.grant), None)
    clock = book.definitions.clock
    if grant is None or grant.expires_at >= clock.latest_close(book.moment.recorded_at):
        raise NotFound("grant_not_open", "nothing of this grant is left to expire, or its day is still open")
    return [
        _booked(
            book,
            request,
            account,
            kind="credit",
            amount=-grant.left,
            credit=-grant.left,
            grants=(GrantChange(grant.grant, grant.expires_at, -grant.left),),
            corrects=grant.grant,
            reason="credit expired",
            effective_at=clock.close_of(clock.server_day(grant.expires_at)),
        )
    ]


def check_limits(book: Book, request: Request) -> None:
    """Refuse what goes beyond the key's amount per operation or per server day."""
    access, key_id = request.caller.access, request.caller.key_id
    if key_id is None or (access.amount_max is None and access.amount_day_max is None):
        return
    asked = _asked(book, request.command)
    if asked is None:
        return
    account, amount = asked
    if access.amount_max is not None and amount > access.amount_max.value:
        raise PermissionDenied("key_limit", "the amount is above what this key may move at once")
    used = Fraction(book.used.get((key_id, account.currency), 0), 10**account.digits)
    if access.amount_day_max is not None and used + amount > access.amount_day_max.value:
        raise PermissionDenied("key_day_limit", "the amount is above what is left to this key today")


def _asked(book: Book, command: Command) -> tuple[Account, Fraction] | None:
    """Give the account and the amount that count against a key's limits, before any rule of money."""
    match command:
        case Deposit() | Withdraw() | GiveCredit():
            return book.accounts[command.login], abs(command.amount.value)
        case Transfer():
            return book.accounts[command.source], command.amount.value
        case Correct():
            return book.accounts[command.login], _larger(command.balance, command.credit)
        case Adjust(kind="negative-balance"):
            account = book.accounts[command.login]
            owed = Fraction(max(0, -account.balance), 10**account.digits)
            return account, max(owed, _larger(command.credit))
        case Adjust():
            return book.accounts[command.login], _larger(command.amount, command.credit)
        case Reverse():
            leg = _legs(book.operations[command.operation])[0]
            return book.accounts[leg.login], Fraction(moved(leg), 10**leg.digits)
        case _:
            return None


def _larger(*amounts: Amount | None) -> Fraction:
    return max((abs(amount.value) for amount in amounts if amount is not None), default=Fraction(0))


def _booked(  # noqa: PLR0913 - one line for each fact of a leg
    book: Book,
    request: Request,
    account: Account,
    *,
    kind: str,
    amount: int,
    balance: int = 0,
    credit: int = 0,
    leg: int = 0,
    grants: tuple[GrantChange, ...] = (),
    expires_at: datetime | None = None,
    corrects: int | None = None,
    reason: str | None = None,
    peer: int | None = None,
    effective_at: datetime | None = None,
    deal: Deal | None = None,
    stale: bool = False,
) -> MoneyMoved:
    operation = book.next_position
    note = request.command if isinstance(request.command, Note) else _NO_NOTE
    moment, caller = book.moment, request.caller
    return MoneyMoved(
        position=operation + leg,
        stream=account.stream,
        version=account.version + 1,
        operation=operation,
        recorded_at=moment.recorded_at,
        server_day=moment.server_day,
        trading_day=moment.trading_day,
        schema=SCHEMA,
        request_id=request.request_id,
        operator_id=caller.operator_id,
        key_id=caller.key_id,
        login=account.login,
        group=account.group,
        kind=kind,
        currency=account.currency,
        digits=account.digits,
        amount=amount,
        balance_change=balance,
        credit_change=credit,
        balance=_in_range(account.balance + balance, request.command, _field_of_balance),
        credit=_in_range(account.credit + credit, request.command, _field_of_credit),
        effective_at=effective_at or note.effective_at,
        comment=note.comment,
        reference=note.reference if deal is None else deal.deal_id,
        method=note.method,
        metadata=note.metadata,
        expires_at=expires_at,
        corrects=corrects,
        reason=reason,
        peer=peer,
        grants=grants,
        warnings=_WARNINGS[account.enable, stale],
        deal=deal,
    )


_NO_NOTE = Note()
_WARNINGS = {
    (True, False): (),
    (True, True): ("figures_stale",),
    (False, False): ("account_disabled",),
    (False, True): ("account_disabled", "figures_stale"),
}


def _in_range(minor: int, command: Command, field_of: Callable[[Command], str | None]) -> int:
    if abs(minor) > BALANCE_MAX:
        detail = "the account cannot hold that much"
        raise ValidationError("balance_out_of_range", detail, field=field_of(command))
    return minor


def _field_of_balance(command: Command) -> str | None:
    """Name the field by which the caller moves the balance; None where no one field does."""
    match command:
        case Correct():
            return _field(command.balance)
        case Deposit() | Withdraw() | Transfer() | Adjust():
            return _field(command.amount)
        case _:
            return None


def _field_of_credit(command: Command) -> str | None:
    """Name the field by which the caller moves the credit; None where no one field does."""
    match command:
        case GiveCredit() | Adjust(kind="bonus-conversion"):
            return _field(command.amount)
        case Correct() | Adjust():
            return _field(command.credit)
        case _:
            return None


def _field(amount: Amount | None) -> str | None:
    return None if amount is None else amount.field


def _reversal(book: Book, request: Request, leg: MoneyMoved, number: int) -> MoneyMoved:
    account = book.accounts[leg.login]
    credit = -leg.credit_change
    _check_credit(account, -credit, request.command)
    return _booked(
        book,
        request,
        account,
        leg=number,
        kind="reversal",
        amount=-leg.balance_change or credit,
        balance=-leg.balance_change,
        credit=credit,
        grants=_given_back(book, leg) if credit > 0 else _used_up(account, credit, first=leg.position),
        corrects=leg.operation,
        reason=request.command.reason if isinstance(request.command, Reverse) else None,
        peer=leg.peer,
    )


def _given_back(book: Book, leg: MoneyMoved) -> tuple[GrantChange, ...]:
    """Put credit back into the grants that it was taken from, where their server day is still open.

    A grant that has expired does not come back, though a new clock may open its day again: it expires once.
    """
    close = book.definitions.clock.latest_close(book.moment.recorded_at)
    back = [GrantChange(used.grant, used.expires_at, -used.amount) for used in leg.grants]
    open_days = (change for change in back if change.expires_at >= close)
    return tuple(change for change in open_days if expiry_of(change.grant) not in book.requests)


def _used_up(account: Account, credit: int, *, first: int | None = None) -> tuple[GrantChange, ...]:
    if credit >= 0 or not account.grants:
        return ()
    return tuple(credit_taken(account, -credit, first=first))


def _legs(operation: Operation) -> list[MoneyMoved]:
    return [event for event in operation if isinstance(event, MoneyMoved)]


def _check_reversible(book: Book, target: Operation) -> None:
    first = _legs(target)[0]
    if (reversal := book.reversals.get(first.operation)) is not None:
        raise AlreadyApplied(
            "already_reversed", f"it was reversed by bal_{reversal}", operation=book.operations[reversal]
        )
    if first.kind == "reversal":
        raise ValidationError("not_reversible", "a reversal cannot be reversed", field="operationId")


def _check_enabled(account: Account) -> None:
    if not account.enable:
        raise PermissionDenied("account_disabled", f"account {account.login} is disabled")


def _check_withdrawable(book: Book, account: Account, amount: int) -> bool:
    """Refuse what cannot be taken out; tell whether the figures that allow it are stale."""
    worth = book.worth(account)
    stale = _check_fresh(book, worth)
    if amount > worth.withdrawable:
        raise ValidationError(
            "not_enough_money",
            f"{format_minor(worth.withdrawable, account.digits)} {account.currency} can be taken out",
            field="amount",
            available=(worth.withdrawable, account.digits),
            stale=stale,
        )
    return stale


def _check_credit_free(book: Book, account: Account, out: int, command: Command) -> bool:
    """Refuse credit that the free margin holds; tell whether the figures that allow it are stale."""
    worth = book.worth(account)
    stale = _check_fresh(book, worth)
    _check_credit(account, out, command, available=worth.credit_free, stale=stale)
    return stale


def _check_fresh(book: Book, worth: Worth) -> bool:
    stale = worth.figures.stale(book.moment.recorded_at)
    if stale and worth.group.refuse_when_stale:
        detail = "the figures of the open positions are stale; this group waits for the trading server"
        raise ManagerOffline("figures_stale", detail, retry_after=1)
    return stale


def _check_credit(
    account: Account,
    out: int,
    command: Command,
    *,
    available: int | None = None,
    stale: bool = False,
) -> None:
    available = account.credit if available is None else available
    if out > available:
        raise ValidationError(
            "not_enough_credit",
            f"{format_minor(available, account.digits)} {account.currency} of credit can be taken out",
            field=_field_of_credit(command),
            available=(available, account.digits),
            stale=stale,
        )


def _minor(book: Book, account: Account, amount: Amount) -> int:
    minor = amount.minor(account.digits)
    ceiling = book.definitions.groups[account.group].max_operation
    if ceiling is not None and abs(minor) > ceiling:
        raise ValidationError(
            "amount_too_large",
            f"one operation may move {format_minor(ceiling, account.digits)} {account.currency} at most",
            field=amount.field,
        )
    return minor


def _plain(book: Book, account: Account, command: Adjust) -> tuple[int, int]:
    assert command.amount is not None
    return _minor(book, account, command.amount), 0


def _bonus_converted(book: Book, account: Account, command: Adjust) -> tuple[int, int]:
    amount, _ = _plain(book, account, command)
    return amount, -amount


def _opening(book: Book, account: Account, command: Adjust) -> tuple[int, int]:
    balance = 0 if command.amount is None else _minor(book, account, command.amount)
    credit = 0 if command.credit is None else _minor(book, account, command.credit)
    return balance, credit


def _negative_balance(book: Book, account: Account, command: Adjust) -> tuple[int, int]:
    credit = 0 if command.credit is None else _minor(book, account, command.credit)
    if account.balance >= 0:
        raise ValidationError("balance_not_negative", "the balance is not below zero", field="login")
    return -account.balance, -credit


_ADJUSTED: Mapping[str, Callable[[Book, Account, Adjust], tuple[int, int]]] = {
    "bonus-conversion": _bonus_converted,
    "opening": _opening,
    "negative-balance": _negative_balance,
}
