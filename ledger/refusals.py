"""Every refusal, as a tree: the family is what a caller does next, the code is why.

Refusal
    Unauthorized        the key is missing, unknown, dead, or lacks the scope
    ValidationError     the request is wrong and stays wrong until it is changed
    NotFound            the path names something that does not exist
    PermissionDenied    the key may not do this to that account
    AlreadyApplied      it has happened before; names the first operation
    TooLarge            the body is beyond its limit
    TooManyRequests     come back later
    ManagerOffline      the ledger cannot answer now; repeat with the same request id
    Fault               a fault of our own

docs/api.md lists the codes in order of precedence; api/problems.py gives families their HTTP status.
"""

from __future__ import annotations

from typing import ClassVar, Final, Self

PROVEN: Final = frozenset({"scope_missing", "key_expired", "key_revoked"})
"""The codes of 401 to a key that proved itself."""


class Refusal(Exception):
    """A refusal that a caller can act on: it leaves no event and uses up no request id."""

    title: ClassVar[str] = "Refusal"

    def __init__(self, code: str, detail: str, *, field: str | None = None, **extra: object) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.field = field
        self.extra = extra
        self.decided = False
        """Whether it was met after the key's reach in the order of precedence, and not by a dry run."""

    def at_rest(self) -> Self:
        """Forget where it was raised; whoever keeps it would keep all that was being read there."""
        self.__traceback__ = self.__cause__ = self.__context__ = None
        return self

    @property
    def attempted(self) -> bool:
        """Whether people must be able to see it: a repeat of what was done is none, nor is a ledger away."""
        match self:
            case AlreadyApplied(code="request_applied") | ManagerOffline():
                return False
            case Unauthorized():
                return self.code in PROVEN
            case _:
                return self.decided or isinstance(self, PermissionDenied)


class Unauthorized(Refusal):
    """The key is missing, malformed, unknown, expired, revoked, or lacks the scope."""

    title = "Unauthorized"


class ValidationError(Refusal):
    """The request is wrong; `field` names what to change."""

    title = "ValidationError"


class NotFound(Refusal):
    """The path names something that does not exist."""

    title = "NotFound"


class PermissionDenied(Refusal):
    """The key may not do this to that account."""

    title = "PermissionDenied"


class AlreadyApplied(Refusal):
    """It has happened before: `operation_id` is the first operation's."""

    title = "AlreadyApplied"


class TooLarge(Refusal):
    """The body is larger than its route takes."""

    title = "TooLarge"


class TooManyRequests(Refusal):
    """The caller should come back after `retryAfter` seconds."""

    title = "TooManyRequests"


class ManagerOffline(Refusal):
    """The ledger cannot answer now, or cannot know the outcome; repeat with the same request id."""

    title = "ManagerOffline"


class Fault(Refusal):
    """A fault of our own; the log says more."""

    title = "InternalError"
