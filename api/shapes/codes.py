"""Which codes a route refuses with: those that follow from what it takes, and those of its commands.

Codes stand under the family of their refusal, which gives them their HTTP status.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from ledger import refusals
from ledger.refusals import Refusal

Codes = dict[type[Refusal], tuple[str, ...]]


def codes(**families: str) -> Codes:
    """Give codes by the names of their families."""
    return {getattr(refusals, family): tuple(words.split()) for family, words in families.items()}


def together(groups: Iterable[Codes]) -> Codes:
    """Put groups of codes together, each code once."""
    found: dict[type[Refusal], dict[str, None]] = {}
    for group in groups:
        for family, words in group.items():
            found.setdefault(family, {}).update(dict.fromkeys(words))
    return {family: tuple(words) for family, words in found.items()}


def derived(opt: dict[str, Any], named: Iterable[Codes]) -> Codes:
    """Give the codes that follow from what a route takes, and those that it names itself."""
    groups = [EVERYWHERE]
    if opt.get("scope") is not None:
        groups += [KEYED, QUERIED]
    if opt.get("scope"):
        groups.append(SCOPED)
    if "query" in opt:
        groups += _of_parameters(opt["query"])
    if "body" in opt:
        groups.append(BODIED)
    return together([*groups, *named])


def _of_parameters(query: type[msgspec.Struct]) -> Iterator[Codes]:
    fields = msgspec.structs.fields(query)
    if fields:
        yield codes(ValidationError="wrong_type")
    if any(field.required for field in fields):
        yield codes(ValidationError="missing_field")


EVERYWHERE: Final = codes(ValidationError="bad_request", TooLarge="head_too_large", Fault="fault")
KEYED: Final = codes(
    Unauthorized="key_missing key_malformed key_unknown key_revoked key_expired",
    ValidationError="two_request_ids bad_request_id bad_operator_id key_misplaced",
    ManagerOffline="database_away readers_busy",
)
SCOPED: Final = codes(Unauthorized="scope_missing")
QUERIED: Final = codes(ValidationError="bad_query repeated_field unknown_field bad_text")
BODIED: Final = codes(
    ValidationError="body_malformed missing_field unknown_field wrong_type bad_text",
    TooLarge="body_too_large",
)
"""What follows from taking a key, a query, a body."""

_READ: Final = codes(ManagerOffline="read_too_long")
_WRITTEN: Final = codes(
    ValidationError="request_id_reused",
    AlreadyApplied="request_applied",
    ManagerOffline="outcome_unknown batch_failed queue_full closing clock_behind",
)
_REACHED: Final = codes(PermissionDenied="outside_mask")
_IN_PATH: Final = codes(NotFound="unknown_route")
_LOGIN_IN_PATH: Final = codes(NotFound="unknown_route unknown_login")
_DECIMALS: Final = codes(ValidationError="bad_amount too_many_decimals amount_too_large")
_AMOUNTS: Final = (_DECIMALS, codes(ValidationError="amount_zero"))
_POSITIVE: Final = codes(ValidationError="amount_not_positive")
_MONEY: Final = (
    *(_WRITTEN, _REACHED),
    codes(
        ValidationError="request_id_required balance_out_of_range",
        PermissionDenied="key_limit key_day_limit",
    ),
)
_OF_ACCOUNT: Final = (*_MONEY, *_AMOUNTS, codes(ValidationError="unknown_login bad_effective_time"))
_NOTED: Final = codes(
    ValidationError="metadata_too_large reference_reused", AlreadyApplied="reference_applied"
)
_OUT: Final = codes(
    ValidationError="not_enough_money",
    PermissionDenied="account_disabled",
    ManagerOffline="figures_stale",
)

DEPOSIT: Final = (*_OF_ACCOUNT, _NOTED, _POSITIVE)
WITHDRAWAL: Final = (*DEPOSIT, _OUT)
TRANSFER: Final = (*WITHDRAWAL, codes(ValidationError="same_login currency_mismatch"))
CREDIT: Final = (
    *(*_OF_ACCOUNT, _NOTED),
    codes(ValidationError="bad_expiration not_enough_credit", ManagerOffline="figures_stale"),
)
CORRECTION: Final = (*_OF_ACCOUNT, codes(ValidationError="not_enough_credit unknown_operation"))
ADJUSTMENT: Final = (*DEPOSIT, codes(ValidationError="bad_kind not_enough_credit balance_not_negative"))
_REVERSED: Final = codes(
    NotFound="unknown_operation",
    AlreadyApplied="already_reversed",
    ValidationError="not_reversible not_enough_credit",
)
REVERSAL: Final = (*_MONEY, _IN_PATH, _REVERSED, codes(ValidationError="bad_operation_id"))
BATCH: Final = (
    *(*TRANSFER, *CREDIT, *CORRECTION, *ADJUSTMENT, _REVERSED),
    *(SCOPED, codes(ValidationError="batch_partly_applied")),
)

_MASKED: Final = codes(ValidationError="bad_mask")
_EXPORTED: Final = codes(ManagerOffline="exports_busy")
HISTORY: Final = (
    *(_READ, _REACHED, _MASKED, _DECIMALS, _POSITIVE, _EXPORTED),
    codes(ValidationError="unknown_login bad_kind bad_date cursor_and_offset bad_cursor"),
)
OPERATION: Final = (
    *(_READ, _REACHED, _IN_PATH),
    codes(NotFound="unknown_operation", ValidationError="bad_operation_id"),
)
REQUEST: Final = (*(_READ, _REACHED, _IN_PATH), codes(NotFound="unknown_request unknown_operation"))
AS_OF: Final = (*(_READ, _REACHED), codes(ValidationError="unknown_login bad_date"))

OPENING: Final = (*(_WRITTEN, _REACHED), codes(ValidationError="unknown_group login_taken bad_login"))
UPDATE: Final = (
    *(_WRITTEN, _REACHED, _LOGIN_IN_PATH),
    codes(ValidationError="unknown_group currency_mismatch"),
)
ACCOUNT: Final = (_READ, _REACHED, _LOGIN_IN_PATH)
DISABLING: Final = (*(_WRITTEN, _REACHED, _LOGIN_IN_PATH), codes(AlreadyApplied="already_disabled"))
ENABLING: Final = (*(_WRITTEN, _REACHED, _LOGIN_IN_PATH), codes(AlreadyApplied="already_enabled"))
ACCOUNTS: Final = (
    *(_READ, _MASKED),
    codes(ValidationError="bad_currency bad_operator empty_list bad_range bad_json too_many_rules"),
)
ACCOUNTS_IN_QUERY: Final = (*ACCOUNTS, BODIED, codes(ValidationError="query_and_body"))

_DEFINED: Final = (_WRITTEN, _IN_PATH, *_AMOUNTS, _POSITIVE)
GROUP: Final = (
    *(*_DEFINED, _REACHED),
    codes(ValidationError="bad_group bad_currency digits_mismatch currency_mismatch metadata_too_large"),
)
_WHOLE_LEDGER: Final = codes(PermissionDenied="whole_ledger_only")
SYMBOL: Final = (*_DEFINED, _WHOLE_LEDGER, codes(ValidationError="bad_symbol bad_currency"))
SERVER: Final = (
    *(_WRITTEN, _WHOLE_LEDGER),
    codes(ValidationError="bad_timezone bad_day_end bad_overnight_days bad_currency"),
)
READ: Final = (_READ,)

_FED: Final = codes(ManagerOffline="feed_failed queue_full closing")
_WHOLE_FEED: Final = codes(PermissionDenied="whole_feed_only")
QUOTES: Final = (_FED, _WHOLE_FEED)
ONLINE: Final = (_FED, _WHOLE_FEED)
POSITIONS: Final = (
    *(_FED, _WHOLE_FEED),
    codes(ValidationError="snapshot_incomplete snapshot_void bad_ticket"),
)
DEALS: Final = (codes(ManagerOffline="outcome_unknown batch_failed queue_full closing clock_behind"),)

EXPOSURE: Final = (_READ, _MASKED)
EXPORT: Final = (_READ, _MASKED, _EXPORTED)
DAILY: Final = (
    *(_READ, _MASKED),
    codes(ValidationError="bad_date", PermissionDenied="whole_groups_only"),
)
LOG: Final = (_READ, codes(ValidationError="position_ahead"))
STREAM: Final = LOG
CHECKPOINT: Final = (_READ, codes(NotFound="not_sealed unknown_checkpoint", Fault="seal_broken"))
PROOF: Final = (*CHECKPOINT, *OPERATION)
CONSISTENCY: Final = (_READ, codes(NotFound="not_sealed", ValidationError="bad_range", Fault="seal_broken"))
READINESS: Final = (codes(ManagerOffline="not_ready database_away readers_busy read_too_long"),)
