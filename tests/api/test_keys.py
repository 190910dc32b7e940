"""Keys: who gets in, to which route, to which accounts, up to what amount; and that no key leaks."""

from __future__ import annotations

import zlib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from litestar.routes import HTTPRoute
from psycopg.sql import SQL, Identifier

from api.app import create_app
from api.database import READERS_MAX, Database
from api.service import Service
from projections import install
from tests.api.served import Caller, Served, new_id, number, within

if TYPE_CHECKING:
    from collections.abc import Iterator

READS = {
    "users:read",
    "groups:read",
    "symbols:read",
    "server:read",
    "accounts:read",
    "history:read",
    "reports:read",
}
FUNDING = {"funding:deposit", "funding:withdraw", "funding:credit", "funding:transfer", "funding:adjust"}
MANAGING = {
    *("funding:correct", "users:write", "groups:write", "symbols:write", "server:write", "feed:write"),
    "audit:read",
}
ROLES = {
    "provisioning": (READS | {"users:write"}) - {"history:read"},
    "finance": FUNDING | {"users:read", "groups:read", "accounts:read", "history:read", "server:read"},
    "reporting": READS,
    "feed": {"feed:write", "symbols:read", "symbols:write"},
    "dealer": READS,
    "manager": READS | FUNDING | MANAGING,
    "admin": READS | FUNDING | MANAGING,
    "user": {"users:read", "accounts:read", "history:read"},
}
ANY = ""
SCOPES = {
    ("POST", "/balances/deposit"): "funding:deposit",
    ("POST", "/balances/withdraw"): "funding:withdraw",
    ("POST", "/balances/credit"): "funding:credit",
    ("POST", "/balances/transfer"): "funding:transfer",
    ("POST", "/balances/correction"): "funding:correct",
    ("POST", "/balances/adjust"): "funding:adjust",
    ("POST", "/balances/operations/{operation_id}/reverse"): "funding:correct",
    ("POST", "/balances/batch"): ANY,
    ("GET", "/balances/history"): "history:read",
    ("GET", "/balances/operations/{operation_id}"): "history:read",
    ("GET", "/balances/asof"): "history:read",
    ("GET", "/requests/{request_id}"): "history:read",
    ("POST", "/users"): "users:write",
    ("PATCH", "/users/{login}"): "users:write",
    ("GET", "/users/{login}"): "users:read",
    ("POST", "/users/{login}/disable"): "users:write",
    ("POST", "/users/{login}/enable"): "users:write",
    ("GET", "/groups"): "groups:read",
    ("PUT", "/groups/{group}"): "groups:write",
    ("GET", "/server"): "server:read",
    ("PUT", "/server"): "server:write",
    ("GET", "/symbols"): "symbols:read",
    ("PUT", "/symbols/{symbol}"): "symbols:write",
    ("GET", "/accounts"): "accounts:read",
    ("POST", "/accounts/query"): "accounts:read",
    ("POST", "/feed/quotes"): "feed:write",
    ("POST", "/feed/positions"): "feed:write",
    ("POST", "/feed/deals"): "feed:write",
    ("POST", "/feed/online"): "feed:write",
    ("GET", "/feed/status"): "feed:write",
    ("GET", "/reports/exposure"): "reports:read",
    ("GET", "/reports/users"): "reports:read",
    ("GET", "/reports/daily"): "reports:read",
    ("GET", "/audit/events"): "audit:read",
    ("GET", "/audit/stream"): "audit:read",
    ("GET", "/audit/refusals"): "audit:read",
}
PERSONAL = ("name", "email", "phone", "address", "city", "zipcode", "comment")
WITHOUT_KEY = {"/healthz", "/readyz", "/metrics"}


def routes(database_url: str) -> Iterator[tuple[str, str, Any]]:
    """Give method, path and options of every route that the service has."""
    app = create_app(Service(Database(database_url, "main"), ledger="main"))
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                for method in handler.http_methods - {"OPTIONS", "HEAD"}:
                    yield str(method), route.path_format, handler.opt


def filled(path: str) -> str:
    """Put something into the places of a path that cannot be there."""
    beyond = "?after=999999999" if path == "/audit/stream" else ""  # a stream that begins does not end
    return (path + beyond).format(
        operation_id="bal_999999999", login=999_999_999, request_id="none", group="standard", symbol="X"
    )


class TestEveryRoute:
    def test_names_its_scope_but_health_and_the_schema(self, database_url: str) -> None:
        found = {
            (method, path): opt.get("scope", "none")
            for method, path, opt in routes(database_url)
            if path not in WITHOUT_KEY and not path.startswith("/schema")
        }
        assert {route: found[route] for route in SCOPES} == SCOPES
        assert "none" not in found.values()

    def test_is_open_to_exactly_the_roles_with_its_scope(self, database_url: str, served: Served) -> None:
        callers = {
            role: served.caller(role, *(["--logins", "1"] if role == "user" else [])) for role in ROLES
        }
        tried = 0
        for method, path, opt in routes(database_url):
            if opt.get("scope") is None:
                continue
            for role, caller in callers.items():
                body = None if method == "GET" else b"{}"
                answer = caller.send(method, filled(path), body, request_id=new_id())
                allowed = opt["scope"] in ROLES[role] | {ANY}
                assert (answer.status != 401) == allowed, (method, path, role, answer.text)
                assert allowed or answer.said == (401, "scope_missing")
                tried += 1
        assert tried >= len(SCOPES) * len(ROLES)

    def test_asks_for_a_key(self, database_url: str, nobody: Caller) -> None:
        for method, path, opt in routes(database_url):
            if opt.get("scope") is not None:
                answer = nobody.send(method, filled(path), None if method == "GET" else b"{}")
                assert answer.said == (401, "key_missing"), (method, path)

    def test_that_needs_no_key_minds_none(self, nobody: Caller) -> None:
        for path in ("/healthz", "/readyz", "/schema/openapi.json"):
            assert nobody.get(path).status == 200


def checked(key_id: str, secret: str) -> str:
    """Write a well-formed key."""
    return f"fl_{key_id}_{secret}{zlib.crc32(f'{key_id}_{secret}'.encode()):08x}"


class TestAKey:
    @pytest.mark.parametrize(
        "header",
        [
            "",
            "Bearer",
            "Bearer x",
            "Bearer fl_",
            "Bearer fl_0123456789abcdef_short",
            "Basic dXNlcjpwYXNz",
            "Bearer {key}x",
            "Bearer {upper}",
            "{key}",
            "Token {key}",
            "Bearer {key} {key}",
        ],
    )
    def test_that_is_malformed_is_told_so(self, served: Served, admin: Caller, header: str) -> None:
        assert admin.key is not None
        written = header.format(key=admin.key, upper=admin.key.upper())
        refused = Caller(served, None).send("GET", "/groups", headers={"authorization": written})
        assert refused.said == (401, "key_malformed")

    def test_with_a_typing_error_fails_its_own_check(self, served: Served, admin: Caller) -> None:
        assert admin.key is not None
        for place in (4, 25, 40, len(admin.key) - 1):
            other = "0" if admin.key[place] != "0" else "1"
            mistyped = admin.key[:place] + other + admin.key[place + 1 :]
            assert Caller(served, mistyped).get("/groups").said == (401, "key_malformed")

    def test_that_is_unknown_is_told_so(self, served: Served, admin: Caller) -> None:
        for key_id in ("0123456789abcdef", admin.key_id):
            assert Caller(served, checked(key_id, "s" * 43)).get("/groups").said == (401, "key_unknown")

    def test_is_known_by_any_case_of_bearer(self, served: Served, admin: Caller) -> None:
        for word in ("bearer", "BEARER"):
            answer = Caller(served, None).send(
                "GET", "/groups", headers={"authorization": f"{word} {admin.key}"}
            )
            assert answer.status == 200

    def test_of_another_ledger_is_unknown_in_this_one(self, served: Served, database_url: str) -> None:
        install.migrate(database_url, "other")
        making = ["keys", "create", "--role", "admin", "--name", "x"]
        foreign = Caller(served, served.command(*making, ledger="other").splitlines()[-1])
        assert foreign.key_id not in served.command("keys", "list")
        assert foreign.get("/groups").said == (401, "key_unknown")

    def test_that_has_expired_is_told_so(self, served: Served) -> None:
        expired = served.caller("admin", "--expires", "2020-01-01T00:00:00Z")
        assert expired.get("/groups").said == (401, "key_expired")

    def test_that_expires_later_lives(self, served: Served) -> None:
        assert served.caller("admin", "--expires", "2199-01-01T00:00:00Z").get("/groups").status == 200

    def test_that_is_revoked_is_dead_within_a_second(self, served: Served) -> None:
        caller = served.caller("admin")
        assert caller.get("/groups").status == 200
        served.command("keys", "revoke", caller.key_id)
        taken = within(2, lambda: caller.get("/groups").status == 401)
        assert taken <= 1.5  # a second, and what the last look takes
        assert caller.get("/groups").said == (401, "key_revoked")
        assert caller.book("deposit", login=1, amount=1).said == (401, "key_revoked")

    def test_that_is_rotated_ends_when_its_successor_lives(self, served: Served) -> None:
        first = served.caller("finance", "--groups", "vip", "--max-amount", "7")
        assert first.get("/groups").status == 200
        second = Caller(served, served.command("keys", "rotate", first.key_id).splitlines()[-1])
        within(2, lambda: first.get("/groups").said == (401, "key_revoked"))
        assert [group["group"] for group in second.get("/groups")["groups"]] == ["vip"]

    def test_that_is_rotated_with_overlap_lives_on_beside_it(self, served: Served) -> None:
        first = served.caller("finance")
        printed = served.command("keys", "rotate", first.key_id, "--overlap", "3600")
        second = Caller(served, printed.splitlines()[-1])
        assert first.get("/groups").status == second.get("/groups").status == 200

    def test_the_secret_is_told_once_and_never_again(self, served: Served) -> None:
        caller = served.caller("admin")
        assert caller.key is not None
        listed = served.command("keys", "list")
        assert caller.key_id in listed
        assert caller.key.split("_", 2)[2] not in listed


@pytest.fixture(scope="module")
def places(admin: Caller, served: Served) -> dict[str, Any]:
    inside, outside = admin.open("vip", balance="100"), admin.open("standard", balance="100")
    return {
        "inside": inside,
        "outside": outside,
        "paid_inside": admin.booked("deposit", login=inside, amount=5),
        "paid_outside": admin.booked("deposit", login=outside, amount=5),
        "across": admin.booked("transfer", from_=outside, to=inside, amount=1),
        "masked": served.caller("manager", "--groups", "vip"),
        "only": served.caller("manager", "--logins", str(inside)),
    }


@pytest.fixture(params=["masked", "only"])
def limited(request: pytest.FixtureRequest, places: dict[str, Any]) -> Caller:
    caller: Caller = places[request.param]
    return caller


class TestWhereAKeyMayNotReach:
    """A key for group `vip`, and a key for one login: accounts elsewhere are out of reach."""

    @pytest.mark.parametrize(
        ("route", "body"),
        [
            ("deposit", {"amount": 1}),
            ("withdraw", {"amount": 1}),
            ("credit", {"amount": 1}),
            ("adjust", {"kind": "charge", "amount": 1}),
            ("correction", {"balance": 1, "reason": "r"}),
        ],
    )
    def test_no_money_moves_there(
        self, places: dict[str, Any], limited: Caller, served: Served, route: str, body: dict[str, Any]
    ) -> None:
        last = served.last_position
        assert limited.book(route, login=places["outside"], **body).said == (403, "outside_mask")
        assert served.last_position == last
        assert limited.book(route, login=places["inside"], **body).status == 201

    def test_no_transfer_touches_it_on_either_side(self, places: dict[str, Any], limited: Caller) -> None:
        inside, outside = places["inside"], places["outside"]
        for source, target in [(inside, outside), (outside, inside)]:
            refused = limited.book("transfer", from_=source, to=target, amount=1)
            assert refused.said == (403, "outside_mask")

    def test_nothing_there_is_reversed_or_corrected(self, places: dict[str, Any], limited: Caller) -> None:
        for booked in (places["paid_outside"], places["across"]):
            reverse = f"operations/{booked['operationId']}/reverse"
            assert limited.book(reverse, reason="r").said == (403, "outside_mask")
        corrects = places["paid_outside"]["operationId"]
        refused = limited.book("correction", login=places["inside"], balance=1, reason="r", corrects=corrects)
        assert refused.said == (403, "outside_mask")

    def test_no_account_there_is_read_or_changed(self, places: dict[str, Any], limited: Caller) -> None:
        path = f"/users/{places['outside']}"
        for method, there, body in [
            ("GET", path, None),
            ("PATCH", path, {"name": "x"}),
            ("POST", f"{path}/disable", None),
            ("POST", f"{path}/enable", None),
        ]:
            assert limited.send(method, there, body).said == (403, "outside_mask")
        assert limited.get(f"/users/{places['inside']}").status == 200

    def test_no_balance_and_no_operation_there_is_read(self, places: dict[str, Any], limited: Caller) -> None:
        booked = places["paid_outside"]
        login, at = places["outside"], "2199-01-01T00:00:00Z"
        assert limited.get("/balances/asof", login=login, at=at).said == (403, "outside_mask")
        assert limited.get("/balances/history", login=login).said == (403, "outside_mask")
        for path in (f"/balances/operations/{booked['operationId']}", f"/requests/{booked['requestId']}"):
            assert limited.get(path).said == (403, "outside_mask")
        assert limited.get(f"/requests/{places['paid_inside']['requestId']}").status == 200

    def test_lists_totals_and_csv_show_only_what_may_be_seen(
        self, places: dict[str, Any], limited: Caller, admin: Caller
    ) -> None:
        rows = limited.history()
        assert {row["group"] for row in rows} == {"vip"}
        seen = {row["login"] for row in rows}
        assert places["outside"] not in seen
        assert [row["position"] for row in rows] == [
            row["position"] for row in admin.history() if row["login"] in seen
        ]
        page = limited.get("/balances/history", totals="true", limit=1)
        assert page["count"] == len(rows)
        assert sum(kind["count"] for kind in page["totals"]["USD"].values()) == len(rows)
        csv = limited.get("/balances/history", format="csv").text
        assert str(places["outside"]) not in {line.split(",")[3] for line in csv.splitlines()[1:]}
        assert limited.get("/balances/history", requestId=places["paid_outside"]["requestId"])["rows"] == []

    def test_of_a_transfer_across_only_the_own_leg_is_listed(
        self, places: dict[str, Any], limited: Caller
    ) -> None:
        [row] = limited.history(requestId=places["across"]["requestId"])
        assert row["login"] == places["inside"]

    def test_groups_are_listed_as_far_as_the_mask_goes(self, places: dict[str, Any]) -> None:
        groups = places["masked"].get("/groups")["groups"]
        assert [group["group"] for group in groups] == ["vip"]

    def test_no_group_there_is_defined_joined_or_left_for(self, places: dict[str, Any]) -> None:
        masked: Caller = places["masked"]
        for refused in (
            masked.put("/groups/standard", {"currency": "USD"}),
            masked.put("/groups/new", {"currency": "USD"}),
            masked.post("/users", {"group": "standard"}),
            masked.send("PATCH", f"/users/{places['inside']}", {"group": "standard"}),
        ):
            assert refused.said == (403, "outside_mask")
        assert masked.post("/users", {"group": "vip"}).status == 201

    def test_a_key_for_logins_opens_no_other(self, places: dict[str, Any]) -> None:
        for body in ({"group": "vip"}, {"group": "vip", "login": 777_777}):
            assert places["only"].post("/users", body).said == (403, "outside_mask")

    @pytest.mark.parametrize(
        ("mask", "reached"),
        [
            ("*", {"standard", "vip", "euro"}),
            ("vip,standard", {"standard", "vip"}),
            ("*,!vip", {"standard", "euro"}),
            ("VIP", set()),
            (" v* , euro ", {"vip", "euro"}),
        ],
    )
    def test_a_mask_reaches_the_groups_that_it_selects(
        self, served: Served, admin: Caller, mask: str, reached: set[str]
    ) -> None:
        caller = served.caller("finance", "--groups", mask)
        for group in ("standard", "vip", "euro"):
            status = caller.book("deposit", login=admin.open(group), amount=1).status
            assert status == (201 if group in reached else 403)

    def test_an_account_follows_its_present_group(self, served: Served, admin: Caller) -> None:
        masked, login = served.caller("manager", "--groups", "vip"), admin.open("standard", balance="3")
        assert masked.get(f"/users/{login}").status == 403
        admin.send("PATCH", f"/users/{login}", {"group": "vip"})
        assert masked.get(f"/users/{login}").status == 200
        assert [row["group"] for row in masked.history(login=login)] == ["standard"]


@pytest.fixture(scope="module")
def opened(admin: Caller) -> Any:
    details = {name: f"the {name}" for name in PERSONAL} | {"country": "GR"}
    return admin.post("/users", {"group": "vip"} | details)


class TestPersonalColumns:
    @pytest.mark.parametrize(
        ("role", "shown"),
        [("reporting", True), ("provisioning", True), ("admin", True), ("finance", False), ("dealer", False)],
    )
    def test_are_blank_without_users_pii(self, served: Served, opened: Any, role: str, shown: bool) -> None:
        profile = served.caller(role).get(f"/users/{opened['login']}")
        found = {name: profile[name] for name in PERSONAL}
        assert found == {name: f"the {name}" if shown else "" for name in PERSONAL}
        assert profile["country"] == "GR"

    def test_are_blank_in_operations_and_requests_too(self, served: Served, opened: Any) -> None:
        dealer = served.caller("dealer")
        for path in (f"/balances/operations/{opened['operationId']}", f"/requests/{opened['requestId']}"):
            told = dealer.get(path)
            assert told.status == 200
            assert not [name for name in PERSONAL if f"the {name}" in told.text]


@pytest.fixture(scope="module")
def capped(served: Served) -> Caller:
    return served.caller("manager", "--max-amount", "100")


class TestLimits:
    @pytest.mark.parametrize(
        ("route", "body"),
        [
            ("deposit", {"amount": "?"}),
            ("withdraw", {"amount": "?"}),
            ("credit", {"amount": "?"}),
            ("credit", {"amount": "-?"}),
            ("adjust", {"kind": "charge", "amount": "-?"}),
            ("adjust", {"kind": "bonus-conversion", "amount": "?"}),
            ("adjust", {"kind": "opening", "amount": "1", "credit": "?"}),
            ("correction", {"balance": "-?", "reason": "r"}),
            ("correction", {"balance": "1", "credit": "?", "reason": "r"}),
        ],
    )
    def test_one_operation_moves_up_to_the_keys_limit(
        self, admin: Caller, capped: Caller, route: str, body: dict[str, str]
    ) -> None:
        def asked(amount: str) -> dict[str, Any]:
            written = {name: text.replace("?", amount) for name, text in body.items()}
            return {
                name: text if name in {"kind", "reason"} else number(text) for name, text in written.items()
            }

        login = admin.open(balance="1000", credit="1000")
        refused = capped.book(route, login=login, **asked("100.01"))
        assert refused.said == (403, "key_limit")
        assert capped.book(route, login=login, **asked("100")).status == 201

    def test_a_transfer_a_reversal_and_a_compensation_count_too(self, admin: Caller, capped: Caller) -> None:
        source, target = admin.open(balance="1000"), admin.open()
        body: dict[str, Any] = {"from_": source, "to": target}
        assert capped.book("transfer", amount=number("100.01"), **body).said == (403, "key_limit")
        assert capped.book("transfer", amount=100, **body).status == 201
        paid = admin.booked("deposit", login=target, amount=101)["operationId"]
        assert capped.book(f"operations/{paid}/reverse", reason="r").said == (403, "key_limit")
        admin.booked("correction", login=target, balance=-302, reason="r")
        compensation: dict[str, Any] = {"login": target, "kind": "negative-balance"}
        assert capped.book("adjust", **compensation).said == (403, "key_limit")

    def test_is_in_each_accounts_own_currency(self, admin: Caller, capped: Caller) -> None:
        for group in ("yen", "dinar"):
            login = admin.open(group)
            assert capped.book("deposit", login=login, amount=100).status == 201
            assert capped.book("deposit", login=login, amount=101).said == (403, "key_limit")

    def test_a_day_has_an_end_of_its_own(self, admin: Caller, served: Served) -> None:
        login, other = admin.open(balance="1000"), admin.open()
        caller = served.caller("manager", "--max-amount-day", "100")
        body: dict[str, Any] = {"login": login, "amount": 60}
        first = caller.book("deposit", request_id="day-1", **body)
        assert first.status == 201
        assert caller.book("deposit", request_id="day-1", **body).said == (409, "request_applied")
        assert caller.post("/balances/deposit?dryRun=true", body, request_id="x").status == 403
        assert caller.book("deposit", login=other, amount=number("40.01")).said == (403, "key_day_limit")
        assert caller.book("withdraw", login=login, amount=5000).said == (403, "key_day_limit")
        assert caller.book("withdraw", login=login, amount=30).status == 201
        assert caller.book("deposit", login=other, amount=10).status == 201
        assert caller.book("deposit", login=other, amount=number("0.01")).said == (403, "key_day_limit")
        assert caller.book("deposit", login=admin.open("yen"), amount=100).status == 201
        assert served.caller("manager", "--max-amount-day", "100").book("deposit", **body).status == 201

    def test_what_was_refused_or_rehearsed_counts_for_nothing(self, admin: Caller, served: Served) -> None:
        login = admin.open()
        caller = served.caller("manager", "--max-amount-day", "100")
        for _ in range(3):
            assert caller.book("withdraw", login=login, amount=60).said == (400, "not_enough_money")
            rehearsal = {"login": login, "amount": 60}
            assert caller.post("/balances/deposit?dryRun=true", rehearsal, request_id="y").status == 200
        assert caller.book("deposit", login=login, amount=100).status == 201

    def test_a_day_is_counted_within_one_batch_too(self, admin: Caller, served: Served) -> None:
        login = admin.open()
        caller = served.caller("manager", "--max-amount-day", "100")
        items = [
            {"op": "deposit", "requestId": new_id(), "login": login, "amount": amount}
            for amount in (60, 50, 40, 1)
        ]
        codes = [result.get("code") for result in caller.batch(*items)["results"]]
        assert codes == [None, "key_day_limit", None, "key_day_limit"]


class TestAKeyIsCheckedAtOnce:
    @pytest.mark.anyio
    async def test_also_while_reports_hold_every_connection_that_reads(
        self, served: Served, admin: Caller
    ) -> None:
        database = Database(served.database_url, "main")
        service = Service(database, ledger="main")
        await database.open()
        try:
            async with AsyncExitStack() as reports:
                for _ in range(READERS_MAX):
                    await reports.enter_async_context(database.reading())
                key = await service.keys.check(f"Bearer {admin.key}".encode())
            assert key.key_id == admin.key_id
        finally:
            await database.close()


class TestAKeyLeaksNowhere:
    def test_not_into_the_log_the_database_or_the_process_list(
        self, served: Served, admin: Caller, database_url: str
    ) -> None:
        caller = served.caller("manager")
        assert caller.key is not None
        login = admin.open()
        caller.book("deposit", login=login, amount=1)
        caller.book("deposit", login=login, amount=0)
        caller.send("POST", "/balances/deposit", b"{", headers={"authorization": f"Basic {caller.key}"})
        Caller(served, caller.key + "x").get("/groups")
        secret = caller.key.split("_", 2)[2][:43]
        places = {
            "log": served.logged + served.said,
            "processes": _command_lines(),
            "database": _all_text(database_url),
        }
        assert caller.key_id in places["database"]
        assert [place for place, text in places.items() if secret in text] == []

    def test_not_into_answers(self, served: Served) -> None:
        caller = served.caller("manager")
        assert caller.key is not None
        for answer in (
            caller.get("/groups"),
            caller.get("/nope"),
            Caller(served, caller.key + "x").get("/groups"),
            caller.get(f"/balances/operations/op_{served.last_position}"),
        ):
            assert caller.key.split("_", 2)[2][:43] not in answer.text


def _command_lines() -> str:
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(process.read_bytes().decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    return "\n".join(lines)


def _all_text(database_url: str) -> str:
    """Give every row of every table as text, bytes read as text too."""
    tables = (
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
        " AND table_schema NOT IN ('pg_catalog', 'information_schema')"
    )
    found = []
    with psycopg.connect(database_url, autocommit=True) as connection:
        for schema, table in connection.execute(tables).fetchall():
            rows = SQL("SELECT * FROM {}").format(Identifier(schema, table))
            found += [
                value.decode(errors="replace") if isinstance(value, bytes) else str(value)
                for row in connection.execute(rows).fetchall()
                for value in row
            ]
        found += [str(query) for query in connection.execute("SELECT query FROM pg_stat_activity")]
    return "\n".join(found)
