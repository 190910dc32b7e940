"""A ledger and its model, told and asked the same things, and held against each other each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

from tests.model import accounts, money
from tests.model.answers import instant, operation_of, told
from tests.model.daily import daily
from tests.model.exactly import same, wire
from tests.model.history import asof, history
from tests.model.listing import listed
from tests.model.model import Body, Model, Refused
from tests.model.stage import Play

if TYPE_CHECKING:
    from tests.model.days import ServerClock
    from tests.model.stage import Answer, Stage

T = TypeVar("T")
HABITS = ("x-request-id", "Idempotency-Key")
BOOKS = {"each": money.book_each, "atomic": money.book_together, "dry": money.rehearse}
LONGEST = timedelta(days=40)
"""By then every grant has expired, and history tells what was left of it."""

PASSING = (
    *("profit", "net_profit", "storage", "commission", "margin", "margin_free", "margin_level", "equity"),
    *("withdrawable", "stale", "online"),
)
"""What an account's open positions make of it, for as long as they do."""


class Pair:
    """One ledger of its own, and its model."""

    def __init__(self, stage: Stage, begins: datetime) -> None:
        self.play, self.model = Play(stage, begins), Model(begins)
        self.sent: list[tuple[Body, str]] = []
        """Money commands, booked or refused, with their request ids."""
        self.acknowledged = 0
        self.seen: Counter[str] = Counter()
        """Codes of refusals, and in the end kinds of legs."""
        self._ids = 0

    def new_id(self) -> str:
        """Give a request id that was never used."""
        self._ids += 1
        return f"r{self._ids}"

    def end(self, *, check: bool) -> None:
        """Read the whole history and every day, have the ledger verified, and stop."""
        try:
            if check:
                self.go_to(self.model.now + LONGEST)
                self.ask_history({"order": "asc", "limit": 10_000, "totals": "true"})
                for day in sorted({leg["serverDay"] for leg in self.model.legs}):
                    self.ask_for_a_day(day, "*")
                found = self.play.verify()
                assert "the log holds together" in found, found
        finally:
            self.play.end()
        for leg in self.model.legs:
            self.seen[leg["operation"]["asked"]["kind"]] += 1
            self.seen["expired"] += leg["operation"]["requestId"].startswith("~expiry")

    # Money

    def send(
        self, body: Body, request_id: str, *, habit: str = HABITS[0], dry: bool = False, quoted: bool = False
    ) -> None:
        """Send a money command."""
        model = self.model.twin() if dry else self.model
        outcome = _outcome(lambda: money.book(model, body, request_id))
        fields = {name: value for name, value in body.items() if name != "op"}
        path = f"/balances/{body['op']}"
        if body["op"] == "reverse":
            path = f"/balances/operations/{fields.pop('operationId')}/reverse"
        if dry:
            path += "?dryRun=true"
        answer = self._call("POST", path, fields, request_id, habit=habit, quoted=quoted)
        if habit != HABITS[0] and isinstance(outcome, Refused) and outcome.code == "request_applied":
            assert answer.headers["Idempotent-Replayed"] == "true"
            assert outcome.known is not None
            outcome = outcome.known  # the first answer again
        self._hold(answer.status, answer.body, outcome, status=200 if dry else 201, dry=dry)

    def send_batch(self, many: list[tuple[Body, str]], mode: str) -> None:
        """Send several in one call."""
        items = [body | {"requestId": request_id} for body, request_id in many]
        path = "/balances/batch?dryRun=true" if mode == "dry" else "/balances/batch"
        answer = self._call(
            "POST", path, {"operations": items} | ({"atomic": True} if mode == "atomic" else {})
        )
        outcomes = _outcome(lambda: BOOKS[mode](self.model, many))
        if isinstance(outcomes, Refused):
            self._hold(answer.status, answer.body, outcomes)
            return
        assert answer.status == 200, answer.text
        for result, outcome in zip(answer.body["results"], outcomes, strict=True):
            status = result.pop("httpStatus")
            self._hold(status, result, outcome, status=200 if mode == "dry" else 201, dry=mode == "dry")

    def close_deal(self, deal: Body) -> None:
        """Tell of a closed deal."""
        outcome = _outcome(lambda: money.close_deal(self.model, deal))
        [result] = self._call("POST", "/feed/deals", {"deals": [deal]}).body["results"]
        expected: Body = {"dealId": deal["dealId"]}
        if isinstance(outcome, Refused):
            expected |= {"status": "refused", "code": outcome.code}
        else:
            booked = self.model.operations[f"~deal/{deal['dealId']}"]
            expected |= {"status": "accepted" if outcome else "ignored", "operationId": booked["id"]}
        same(result, expected, "deal")

    # Accounts, definitions, time

    def open_account(self, asked: Body, request_id: str) -> None:
        """Open an account."""
        outcome = _outcome(lambda: accounts.open_account(self.model, asked, request_id))
        answer = self._call("POST", "/users", asked, request_id)
        self._hold(answer.status, answer.body, outcome)

    def change_account(self, login: int, asked: Body, request_id: str) -> None:
        """Change an account."""
        outcome = _outcome(lambda: accounts.change_account(self.model, login, asked, request_id))
        answer = self._call("PATCH", f"/users/{login}", asked, request_id)
        self._hold(answer.status, answer.body, outcome, status=200)
        self._revalue()

    def switch(self, login: int, *, on: bool) -> None:
        """Disable or enable an account."""
        request_id = self.new_id()
        outcome = _outcome(lambda: accounts.switch(self.model, login, request_id, on=on))
        answer = self._call("POST", f"/users/{login}/{'enable' if on else 'disable'}", None, request_id)
        self._hold(answer.status, answer.body, outcome, status=200)
        self._revalue()

    def define_group(self, name: str, definition: Body) -> None:
        """Define a group."""
        request_id = self.new_id()
        accounts.define_group(self.model, name, definition, request_id)
        answer = self._call("PUT", f"/groups/{name}", definition, request_id)
        assert answer.status == 200, answer.text

    def set_clock(self, clock: ServerClock, book_currency: str) -> None:
        """Set the server's clock; what has expired by the new one is booked."""
        names, request_id = ("timezone", "dayEnd", "overnightDays"), self.new_id()
        asked = dict(zip(names, clock, strict=True)) | {"bookCurrency": book_currency}
        accounts.define_server(self.model, asked, request_id)
        answer = self._call("PUT", "/server", asked, request_id)
        assert answer.status == 200, answer.text
        self.go_to(self.model.now)
        self._revalue()

    def go_to(self, at: datetime) -> None:
        """Put the clock on; what expires meanwhile is booked."""
        self.play.go_to(at)
        self.model.now = at
        money.expire(self.model)

    # The trading server

    def define_symbols(self, mids: dict[str, tuple[str, str, str]]) -> None:
        """Define symbols, and quote each once."""
        for symbol, (base, profit, _) in mids.items():
            definition = {"digits": 5, "contractSize": 1, "baseCurrency": base, "profitCurrency": profit}
            assert self._call("PUT", f"/symbols/{symbol}", definition, self.new_id()).status == 200
            self.model.position += 1
        quotes = [[symbol, Decimal(mid), Decimal(mid)] for symbol, (_, _, mid) in mids.items()]
        answer = self._call("POST", "/feed/quotes", {"quotes": quotes})
        assert answer.body["accepted"] == len(mids), answer.text

    def tell_position(self, ticket: int, figures: Body | None) -> None:
        """Tell of an open position and what it is worth; None closes it."""
        self.model.tickets.pop(ticket, None)
        if figures is None:
            self._feed([], [ticket])
            return
        self.model.tickets[ticket] = figures
        position = {"ticket": ticket, "symbol": "EURUSD", "side": "buy", "lots": 1, "openPrice": 1}
        self._feed([position | figures], [])

    def _feed(self, positions: list[Body], closed: list[int]) -> None:
        body = {"kind": "delta", "positions": positions, "closed": closed}
        answer = self._call("POST", "/feed/positions", body)
        assert (answer.status, answer.body["errors"]) == (200, []), answer.text
        self.model.told_at = self.model.now

    def _revalue(self) -> None:
        """Let the trading server say a word: after a change figures are stale until then."""
        if self.model.tickets:
            self._feed([], [])

    # Questions

    def ask_accounts(self, question: Body) -> None:
        """Ask for accounts and their sums."""
        answer = self._call("POST", "/accounts/query", question)
        assert answer.status == 200, answer.text
        body = {name: v for name, v in answer.body.items() if name not in ("rates", "asOf", "warnings")}
        same(body, listed(self.model, question), "accounts")

    def ask_history(self, query: Body) -> None:
        """Ask for a page of history, and for the one after it."""
        asked = {name: instant(v) if isinstance(v, datetime) else v for name, v in query.items()}
        answer = self._get("/balances/history", asked)
        assert answer.status == 200, answer.text
        page, expected = answer.body, history(self.model, query)
        limit, offset = query["limit"], query.get("offset", 0)
        rows, cursor = page["rows"], page.pop("next")
        assert (cursor is None) == (expected["count"] <= offset + limit)
        if cursor is not None:
            more = {name: v for name, v in asked.items() if name != "offset"} | {"cursor": cursor}
            rows = rows + self._get("/balances/history", more).body["rows"]
        page["rows"] = [{name: v for name, v in row.items() if name != "keyId"} for row in rows]
        expected["rows"] = expected["rows"][offset : offset + (limit if cursor is None else 2 * limit)]
        asked_for = expected.keys() - (set() if "totals" in query else {"count", "totals"})
        same(page, {name: expected[name] for name in asked_for}, "history")

    def ask_the_past(self, login: int, at: datetime, basis: str) -> None:
        """Ask what an account held."""
        answer = self._get("/balances/asof", {"login": login, "at": instant(at), "basis": basis})
        same(answer.body, asof(self.model, login, at, effective=basis == "effective"), "as-of")

    def ask_for_a_day(self, day: date, mask: str) -> None:
        """Ask for the report of a server day."""
        body = self._get("/reports/daily", {"day": str(day), "groupFilter": mask}).body
        same({name: v for name, v in body.items() if name != "asOf"}, daily(self.model, day, mask), str(day))

    def ask_for_a_request(self, request_id: str) -> None:
        """Ask what a request caused, and for that operation by its own id."""
        answer, booked = self._get(f"/requests/{request_id}", {}), self.model.operations.get(request_id)
        if booked is None:
            same((answer.status, answer.body["code"]), (404, "unknown_request"), "request")
            return
        same(self._get(f"/balances/operations/{booked['id']}", {}).body, answer.body, "operation by its id")
        body = {name: value for name, value in answer.body.items() if name != "events"}
        same(body, operation_of(self.model, booked), "operation")

    # How it is done

    def _get(self, path: str, query: Body) -> Answer:
        return self.play.call("GET", f"{path}?{urlencode(query)}")

    def _call(
        self,
        method: str,
        path: str,
        body: Body | None,
        request_id: str | None = None,
        *,
        habit: str = HABITS[0],
        quoted: bool = False,
    ) -> Answer:
        headers = {} if request_id is None else {habit: request_id}
        content = None if body is None else wire(body, quoted=quoted).encode()
        answer = self.play.call(method, path, content, headers)
        assert request_id in (None, answer.headers["x-request-id"])
        return answer

    def _hold(
        self, status_said: int, body: Body, outcome: Body | Refused, *, status: int = 201, dry: bool = False
    ) -> None:
        """Hold an answer against what the model says."""
        if isinstance(outcome, Refused):
            self._hold_refusal(status_said, body, outcome)
            return
        self.acknowledged += 1
        expected = told(self.model, outcome)
        if self.model.tickets and not outcome["legs"]:
            body, expected = _lasting(body), _lasting(expected)
        same((status_said, body), (status, _unbooked(expected) if dry else expected), "answer")

    def _hold_refusal(self, status: int, body: Body, refused: Refused) -> None:
        self.seen[refused.code] += 1
        expected = refused.told | {"code": refused.code}
        said = {name: body.get(name) for name in expected}
        same((status, said), (refused.status, expected), "refusal")
        if refused.known is not None:
            first = told(self.model, refused.known)
            if not refused.known["legs"]:
                body["operation"], first = _lasting(body["operation"]), _lasting(first)
            same(body["operation"], first, "the first operation")
            same(body["operationId"], refused.known["id"], "its id")


def _outcome(act: Callable[[], T]) -> T | Refused:
    try:
        return act()
    except Refused as refused:
        return refused


def _unbooked(answer: Body) -> Body:
    """Give what a dry run answers."""
    dry = answer | {"operationId": None, "position": None, "status": "dry_run"}
    return dry | ({"legs": [_unbooked(leg) for leg in answer["legs"]]} if "legs" in answer else {})


def _lasting(answer: Body) -> Body:
    """Leave out what open positions make of an account: an old answer does not tell it."""
    return {name: value for name, value in answer.items() if name not in PASSING}
