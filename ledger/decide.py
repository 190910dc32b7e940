"""Decide a request on the book: events, or the first refusal that applies (domain rule 4's order).

the effective time -> unknown login -> outside the key's reach -> the request id -> the
reference -> the key's limits -> the rules of the command, a disabled account first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from ledger import funding, registry
from ledger.account import Account
from ledger.book import Book, Operation, ReferenceKey
from ledger.commands import (
    Access,
    Adjust,
    BookDeal,
    Command,
    Correct,
    CreateKey,
    DefineGroup,
    DefineServer,
    DefineSymbol,
    Deposit,
    DisableAccount,
    EnableAccount,
    ExpireCredit,
    GiveCredit,
    Note,
    OpenAccount,
    Request,
    Reverse,
    RevokeKey,
    StartSimulation,
    Transfer,
    UpdateAccount,
    Withdraw,
    logins_of,
)
from ledger.events import Event, MoneyMoved
from ledger.refusals import AlreadyApplied, NotFound, PermissionDenied, Refusal, ValidationError
from ledger.requests import content_of_command, content_of_events, differences

Rule = Callable[[Book, Request, Any], list[Event]]

RULES: dict[type[Command], Rule] = {
    Deposit: funding.deposit,
    Withdraw: funding.withdraw,
    GiveCredit: funding.give_credit,
    Transfer: funding.transfer,
    Correct: funding.correct,
    Reverse: funding.reverse,
    Adjust: funding.adjust,
    ExpireCredit: funding.expire_credit,
    BookDeal: funding.book_deal,
    OpenAccount: registry.open_account,
    UpdateAccount: registry.update_account,
    DisableAccount: registry.disable_account,
    EnableAccount: registry.enable_account,
    DefineGroup: registry.define_group,
    DefineSymbol: registry.define_symbol,
    DefineServer: registry.define_server,
    StartSimulation: registry.start_simulation,
    CreateKey: registry.create_key,
    RevokeKey: registry.revoke_key,
}


def decide(book: Book, request: Request) -> list[Event]:
    """Give the events that the request causes; raise the first refusal that applies."""
    command, access = request.command, request.caller.access
    _check_effective_time(book, command)
    _check_reach(book, command, access)
    try:
        _check_request_id(book, request)
        if isinstance(command, Note):
            _check_reference(book, command, access)
        funding.check_limits(book, request)
        return RULES[type(command)](book, request, command)
    except Refusal as refusal:
        refusal.decided = not request.dry_run
        refusal.extra.setdefault("login", next((login for _, login in _named(book, command)), None))
        raise


def _check_effective_time(book: Book, command: Command) -> None:
    effective_at = command.effective_at if isinstance(command, Note) else None
    if effective_at is not None and effective_at > book.moment.recorded_at:
        detail = "effectiveAt must not be in the future"
        raise ValidationError("bad_effective_time", detail, field="effectiveAt")


def _check_reach(book: Book, command: Command, access: Access) -> None:
    if isinstance(command, OpenAccount):
        _check_opening(command, access)
        return
    for field, account in [(field, _known(book, field, login)) for field, login in _named(book, command)]:
        if not access.reaches(account.login, account.group):
            # Whose an operation is, is not for a caller who named no more than its id.
            what = "the operation" if field in {"operationId", "corrects"} else f"account {account.login}"
            raise PermissionDenied("outside_mask", f"{what} is outside this key's reach", login=account.login)
    if isinstance(command, UpdateAccount) and command.group is not None:
        _check_group(command.login, command.group, access)
    if isinstance(command, DefineGroup):
        _check_defining(command.group, access)
    if isinstance(command, DefineSymbol | DefineServer) and not access.everything:
        detail = "symbols and the server's clock concern every account, and this key is limited"
        raise PermissionDenied("whole_ledger_only", detail)


def _check_opening(command: OpenAccount, access: Access) -> None:
    if access.logins is not None and command.login not in access.logins:
        raise PermissionDenied("outside_mask", "the login is outside this key's reach", login=command.login)
    _check_group(command.login, command.group or "", access)


def _check_defining(group: str, access: Access) -> None:
    if access.logins is not None:
        detail = f"group {group} holds more accounts than the logins that this key reaches"
        raise PermissionDenied("outside_mask", detail)
    _check_group(None, group, access)


def _check_group(login: int | None, group: str, access: Access) -> None:
    if not access.mask.selects(group):
        raise PermissionDenied("outside_mask", f"group {group} is outside this key's mask", login=login)


def _known(book: Book, field: str, login: int) -> Account:
    account = book.accounts.get(login)
    if account is None:
        raise ValidationError("unknown_login", f"there is no account {login}", field=field)
    return account


def _named(book: Book, command: Command) -> Iterable[tuple[str, int]]:
    """Name every login that the command touches, with the field that names it; its own logins first."""
    match command:
        case Deposit() | Withdraw():
            return [("login", command.login)]
        case Transfer(source=source, target=target):
            return [("from", source), ("to", target)]
        case Reverse(operation=operation):
            return [("operationId", login) for login in _touched(book, operation)]
        case Correct(corrects=int(operation)):
            corrected = (("corrects", login) for login in _corrected(book, operation))
            return chain([("login", command.login)], corrected)
        case _:
            return [("login", login) for login in logins_of(command)]


def _touched(book: Book, operation: int) -> list[int]:
    events = book.operations.get(operation, ())
    logins = [event.login for event in events if isinstance(event, MoneyMoved)]
    if not logins:
        raise NotFound("unknown_operation", f"there is no operation bal_{operation}", field="operationId")
    return logins


def _corrected(book: Book, operation: int) -> Iterator[int]:
    try:
        yield from _touched(book, operation)
    except NotFound as error:
        raise ValidationError(error.code, error.detail, field="corrects") from error


def _check_request_id(book: Book, request: Request) -> None:
    first = book.requests.get(request.request_id)
    if first is None:
        return
    visible = _visible(book, request.caller.access, first)
    fields = differences(content_of_command(request.command), content_of_events(first))
    named: dict[str, Any] = {"operation": first} if visible else {}
    if fields:
        named["fields"] = fields if visible else None
        if isinstance(request.command, BookDeal):
            raise ValidationError("deal_reused", "this dealId was booked with other content", **named)
        detail = "this request id was used for another request"
        raise ValidationError("request_id_reused", detail, **named)
    raise AlreadyApplied("request_applied", "this request was applied before", **named)


def reference_of(command: Command) -> ReferenceKey | None:
    """Give what the command's booking is unique by beside its request id, where it says so."""
    if not isinstance(command, Note) or command.reference is None or command.method is None:
        return None
    kind = command.kind if isinstance(command, Adjust) else command.NAME
    return (kind, command.method, command.reference)


def _check_reference(book: Book, command: Note, access: Access) -> None:
    key = reference_of(command)
    first = None if key is None else book.references.get(key)
    if first is None:
        return
    named: dict[str, Any] = {"operation": first} if _visible(book, access, first) else {}
    if _same_booking(command, first):
        raise AlreadyApplied("reference_applied", "this reference was booked before", **named)
    raise ValidationError(
        "reference_reused", "this reference was used for another booking", field="reference", **named
    )


def _same_booking(command: Note, first: Operation) -> bool:
    event = first[0]
    assert isinstance(event, MoneyMoved)
    if event.login != logins_of(command)[0]:
        return False
    asked, booked = content_of_command(command), content_of_events(first)
    amounts = ("amount", "balance", "credit")
    return all(asked.get(name) == booked.get(name) for name in amounts) and asked.get("to") == booked.get(
        "to"
    )


def _visible(book: Book, access: Access, operation: Operation) -> bool:
    groups = {login: account.group for event in operation for login, account in _account(book, event)}
    return all(access.sees(event, groups) for event in operation)


def _account(book: Book, event: Event) -> Iterator[tuple[int, Account]]:
    login: int | None = getattr(event, "login", None)
    account = None if login is None else book.accounts.get(login)
    if account is not None:
        yield account.login, account
