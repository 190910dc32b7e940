"""The command line: what is asked for on standard output, errors on standard error, exit codes 0, 1, 2."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from api.scopes import ROLES
from tests.service import (
    BOUND_S,
    Ran,
    Service,
    alive,
    by_then,
    data_directory,
    embedded_service,
    end,
    postmaster_pid,
    rows,
    run,
    service_on,
    start,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = re.compile(r"fl_[0-9a-f]{16}_\S{51}")
FROM_THE_FUTURE = r"""
    WITH future AS (
        SELECT notification_id, convert_to(
            regexp_replace(convert_from(state, 'UTF8'), '"type":"[^"]*"', '"type":"from-the-future"'), 'UTF8'
        ) AS state
        FROM ledger_events WHERE notification_id = 2
    )
    UPDATE ledger_events AS e
    SET topic = 'from-the-future', state = future.state, leaf_hash = sha256('\x00'::bytea || future.state)
    FROM future WHERE e.notification_id = future.notification_id
"""
"""What a later version may have written: an event of a type that this one does not know."""

_numbers = count(1)


class Office:
    """A served ledger with two groups and an account in each, and the key of whoever set it up."""

    def __init__(self, service: Service, database_url: str) -> None:
        self.service = service
        self.database_url = database_url
        self.admin = service.key()
        for group, login in (("standard", 1001), ("vip", 2001)):
            assert self.call(self.admin, "PUT", f"/groups/{group}", currency="USD").status_code == 200
            assert self.call(self.admin, "POST", "/users", login=login, group=group).status_code == 201

    def call(self, key: str, method: str, path: str, **body: Any) -> httpx.Response:
        """Call a route with a key."""
        return httpx.request(
            method,
            self.service.url + path,
            json=body or None,
            headers={"Authorization": f"Bearer {key}", "x-request-id": f"r{next(_numbers)}"},
            timeout=BOUND_S,
            trust_env=False,
        )

    def deposit(self, key: str, amount: float = 1, *, login: int = 1001) -> httpx.Response:
        """Deposit with a key."""
        return self.call(key, "POST", "/balances/deposit", login=login, amount=amount)

    def lives(self, key: str) -> bool:
        """Say whether a key opens anything."""
        return self.call(key, "GET", "/server").status_code == 200

    def keys(self, action: str, *words: str) -> Ran:
        """Run `fundledger keys` while the service runs."""
        return self.service.command("keys", action, *words)

    def state(self, key: str) -> str:
        """Give the state of a key as it is listed."""
        [line] = [line for line in self.keys("list").output.splitlines() if line.startswith(id_of(key))]
        return line.split("\t")[-1]


@pytest.fixture(scope="module")
def office(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with service_on(database_url, tmp_path_factory.mktemp("office") / "log") as service:
        yield Office(service, database_url)
        service.stop()
        assert "Traceback" not in service.logged()


@pytest.fixture
def ledger(database_url: str, tmp_path: Path) -> Service:
    """Give a ledger of the test's own that nobody serves."""
    service = Service(("--database-url", database_url), tmp_path / "log", ledger=f"cli_{next(_numbers)}")
    assert service.command("migrate").code == 0
    return service


def id_of(key: str) -> str:
    return key.split("_")[1]


def said(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("code")


def failed(done: Ran, words: str, *, code: int = 1) -> None:
    """Hold a failure against the promise: nothing asked for, one sentence on standard error, an exit code."""
    assert (done.code, done.output) == (code, "")
    assert words in done.errors
    assert "Traceback" not in done.errors


class TestUsage:
    @pytest.mark.parametrize(
        "words",
        [
            "",
            "nosuch",
            "keys",
            "keys create",
            "keys create --role admin",
            "keys create --name x",
            "keys create --role nosuch --name x",
            "keys create --role admin --name x --logins 1,two",
            "keys create --role admin --name x --logins 0",
            "keys create --role admin --name x --expires tomorrow",
            "keys create --role admin --name x --expires 2030-01-01T00:00:00",
            "keys revoke",
            "keys rotate",
            "keys rotate abc --overlap soon",
            "demo --seed soon",
            "ledgers",
            "ledgers create",
            "serve --port many",
            "serve --request-id perhaps",
            "serve --simulate-from yesterday",
            "serve --nosuch",
            "verify --data a --database-url b",
        ],
    )
    def test_wrong_usage_is_exit_code_2(self, ledger: Service, words: str) -> None:
        ledger.where = ()
        done = ledger.command(*words.split())
        failed(done, "; see `fundledger", code=2)
        assert all(line.startswith("fundledger: ") for line in done.errors.splitlines())

    @pytest.mark.parametrize("words", ["", "serve", "migrate", "keys rotate", "ledgers create", "rebuild"])
    def test_every_command_explains_itself(self, ledger: Service, words: str) -> None:
        ledger.where = ()
        done = ledger.command(*words.split(), "--help")
        assert (done.code, done.errors) == (0, "")
        assert done.output.startswith(f"usage: fundledger {words}".rstrip())

    def test_it_is_the_same_as_a_process(self) -> None:
        failed(run("keys", "create"), "see `fundledger keys create --help`", code=2)
        failed(run("serve", "--ledger", "Bad Name", "--database-url", ""), "see `fundledger serve", code=2)

    @pytest.mark.parametrize("words", ["keys list", "verify", "rebuild", "ledgers list"])
    def test_a_mistyped_data_directory_is_not_made(self, tmp_path: Path, words: str) -> None:
        failed(run(*words.split(), "--data", str(tmp_path / "typo")), "there is no ledger in")
        assert not (tmp_path / "typo").exists()

    @pytest.mark.parametrize(
        "words", ["serve --port 0", "keys list", "verify", "rebuild", "migrate", "ledgers list"]
    )
    def test_a_database_that_is_not_there_is_one_sentence(self, tmp_path: Path, words: str) -> None:
        service = Service(("--database-url", f"postgresql://x@/x?host={tmp_path}"), tmp_path / "log")
        failed(service.command(*words.split()), "fundledger: the database cannot be used:")


class TestServe:
    def test_with_a_database_it_refuses_to_serve_what_is_not_migrated_and_names_the_command(
        self, database_url: str, tmp_path: Path
    ) -> None:
        service = Service(("--database-url", database_url), tmp_path / "log", ledger="unmigrated")
        failed(service.run("serve", "--port", "0"), "make it by `fundledger migrate --database-url URL")
        assert service.command("migrate").code == 0
        try:
            service.start()
            service.stop()
        finally:
            end(service)

    def test_its_options_say_where_and_how_it_is_called(self, ledger: Service) -> None:
        options = ("--host", "127.0.0.1", "--base-path", "/mt4/manager", "--request-id", "optional")
        try:
            ledger.start(*options)
            assert ledger.url.endswith("/mt4/manager")
            with ledger.client() as client:
                assert client.get("healthz").status_code == 200
                assert client.put("groups/mounted", json={"currency": "USD"}).status_code == 200
                login = client.post("users", json={"group": "mounted"}).json()["login"]
                answer = client.post("balances/deposit", json={"login": login, "amount": 1})
                assert (answer.status_code, answer.json()["status"]) == (201, "accepted")
                assert answer.headers["x-request-id"] == answer.json()["requestId"]
            root = ledger.url.removesuffix("/mt4/manager")
            assert httpx.get(f"{root}/healthz", trust_env=False, timeout=BOUND_S).status_code == 404
            ledger.stop()
        finally:
            end(ledger)

    def test_it_says_where_it_serves_and_how_to_make_a_key(self, database_url: str, tmp_path: Path) -> None:
        service = Service(("--database-url", database_url), tmp_path / "log")
        try:
            words = service.start().splitlines()
            assert re.fullmatch(r"fundledger serves the ledger main at http://127\.0\.0\.1:\d+", words[0])
            assert words[1].startswith("make a key: fundledger keys create --role ")
            service.stop()
        finally:
            end(service)

    def test_an_address_that_is_taken_is_a_plain_error(self, database_url: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            failed(run("serve", "--port", port, "--database-url", database_url), "fundledger: ")

    @pytest.mark.parametrize("option", ["--port=99999", "--base-path=mt4 manager"])
    def test_an_address_that_cannot_be_is_wrong_usage(
        self, database_url: str, tmp_path: Path, option: str
    ) -> None:
        service = Service(("--database-url", database_url), tmp_path / "log")
        try:
            service.started(start(service.log, "--port=0", *service.where, option))
            assert not service.url
            assert service.wait() == 2
        finally:
            end(service)


class TestDataDirectory:
    def test_one_service_at_a_time_and_commands_beside_it_and_after_it(self) -> None:
        with embedded_service() as service:
            data = service.log.parent / "data"
            served_by = postmaster_pid(data)
            assert served_by is not None
            said = f"is in use by process {service.pid}: stop that service, or give another --data"
            failed(service.run("serve", "--port", "0"), said)
            assert service.running()
            key = service.run("keys", "create", "--role", "admin", "--name", "beside").last_line
            with service.client(key) as client:
                assert client.get("/readyz").status_code == 200
                assert client.get("/server").status_code == 200
            assert service.run("ledgers", "list").output == "main\n"
            assert postmaster_pid(data) == served_by
            service.stop()
            assert not alive(served_by)
            assert id_of(key) in service.run("keys", "list").output
            assert postmaster_pid(data) is None
            assert service.run("verify").code == 0

    def test_a_command_makes_what_is_missing(self) -> None:
        with embedded_service(begin=False) as service:
            failed(service.run("keys", "list"), "there is no ledger in")
            assert service.run("migrate").output.splitlines()[0].startswith("applied ")
            assert service.run("keys", "list").output == ""

    def test_a_directory_of_somebody_else_is_left_alone(self) -> None:
        with data_directory() as data:
            data.mkdir()
            (data / "letter.txt").write_text("dear")
            failed(run("migrate", "--data", str(data)), "is not a data directory of fundledger")
            assert [path.name for path in data.iterdir()] == ["letter.txt"]


class TestKeys:
    def test_create_prints_the_key_alone_on_the_last_line(self, office: Office) -> None:
        done = office.service.run("keys", "create", "--role", "finance", "--name", "Ann")
        assert (done.code, done.errors) == (0, "")
        assert KEY.fullmatch(done.last_line)
        assert len(KEY.findall(done.output)) == 1
        assert office.deposit(done.last_line).status_code == 201

    @pytest.mark.parametrize("role", ROLES)
    def test_every_role_may_do_what_it_is_for(self, office: Office, role: str) -> None:
        key = office.service.key(role, *(["--logins", "1001"] if role == "user" else []))
        may_read = office.call(key, "GET", "/users/1001").status_code == 200
        may_deposit = office.deposit(key).status_code == 201
        assert may_read == ("users:read" in ROLES[role])
        assert may_deposit == ("funding:deposit" in ROLES[role])

    def test_a_users_key_needs_its_logins(self, office: Office) -> None:
        failed(office.keys("create", "--role", "user", "--name", "x"), "a user's key needs --logins")

    def test_groups_and_logins_are_its_reach(self, office: Office) -> None:
        groups = office.service.key("finance", "--groups", "*,!vip")
        assert office.deposit(groups).status_code == 201
        assert said(office.deposit(groups, login=2001)) == (403, "outside_mask")
        logins = office.service.key("finance", "--logins", "2001,2002")
        assert office.deposit(logins, login=2001).status_code == 201
        assert said(office.deposit(logins, login=1001)) == (403, "outside_mask")

    def test_max_amount_and_max_amount_day_are_its_limits(self, office: Office) -> None:
        key = office.service.key("finance", "--max-amount", "100", "--max-amount-day", "150.00")
        assert office.deposit(key, 100.01).status_code == 403
        assert office.deposit(key, 100).status_code == 201
        assert office.deposit(key, 50.01).status_code == 403
        assert office.deposit(key, 50).status_code == 201

    @pytest.mark.parametrize("limit", ["-5", "0", "abc", "1e3"])
    def test_a_limit_is_an_amount_above_zero(self, office: Office, limit: str) -> None:
        failed(
            office.keys("create", "--role", "finance", "--name", "x", f"--max-amount={limit}"), "max-amount"
        )

    def test_expires_is_its_end(self, office: Office) -> None:
        now = datetime.now(UTC)
        living = office.service.key("finance", "--expires", (now + timedelta(hours=1)).isoformat())
        dead = office.service.key("finance", "--expires", (now - timedelta(seconds=1)).isoformat())
        assert office.lives(living)
        assert said(office.call(dead, "GET", "/server")) == (401, "key_expired")
        assert office.state(living).startswith("expires ")
        assert office.state(dead).startswith("expired ")

    def test_list_shows_every_key_and_no_secret(self, office: Office) -> None:
        key = office.service.key("finance", "--groups", "vip", "--logins", "1,2", "--max-amount", "7.50")
        done = office.keys("list")
        [line] = [line for line in done.output.splitlines() if line.startswith(id_of(key))]
        assert line.split("\t") == [id_of(key), "finance", "a finance", "vip 1,2", "7.50/-", "living"]
        assert all(len(line.split("\t")) == 6 for line in done.output.splitlines())
        assert key.split("_", 2)[2][:20] not in done.output
        assert not KEY.search(done.output)

    def test_revoke_ends_a_key_within_a_second(self, office: Office) -> None:
        key = office.service.key("finance")
        assert office.lives(key)
        assert office.keys("revoke", id_of(key)).output == f"revoked {id_of(key)}\n"
        by_then(1, lambda: not office.lives(key))
        assert said(office.call(key, "GET", "/server")) == (401, "key_revoked")
        assert office.state(key).startswith("revoked ")
        failed(office.keys("revoke", id_of(key)), "there is no living key")

    def test_rotate_makes_a_successor_that_may_do_the_same(self, office: Office) -> None:
        key = office.service.key("finance", "--groups", "vip", "--max-amount", "5")
        done = office.service.run("keys", "rotate", id_of(key))
        assert (done.code, done.errors) == (0, "")
        successor = done.last_line
        assert KEY.fullmatch(successor)
        assert said(office.deposit(successor, 5, login=1001)) == (403, "outside_mask")
        assert office.deposit(successor, 6, login=2001).status_code == 403
        assert office.deposit(successor, 5, login=2001).status_code == 201
        by_then(1, lambda: not office.lives(key))
        failed(office.keys("rotate", id_of(key)), "there is no living key")

    def test_with_overlap_both_live_until_the_old_one_is_revoked(self, office: Office) -> None:
        key = office.service.key("finance")
        successor = office.keys("rotate", id_of(key), "--overlap", "3600").last_line
        assert office.lives(key)
        assert office.lives(successor)
        assert office.state(key).startswith("ends ")
        assert office.keys("revoke", id_of(key)).code == 0
        by_then(1, lambda: not office.lives(key))
        assert office.lives(successor)

    def test_an_overlap_ends_by_itself(self, office: Office) -> None:
        key = office.service.key("finance")
        successor = office.keys("rotate", id_of(key), "--overlap", "1").last_line
        by_then(1, lambda: not office.lives(key))
        assert office.lives(successor)

    @pytest.mark.parametrize("action", ["revoke", "rotate"])
    def test_a_key_that_is_not_there_is_an_error(self, office: Office, action: str) -> None:
        failed(office.keys(action, "0123456789abcdef"), "there is no living key 0123456789abcdef")

    def test_an_expired_key_is_not_rotated(self, office: Office) -> None:
        key = office.service.key("finance", "--expires", "2020-01-01T00:00:00Z")
        failed(office.keys("rotate", id_of(key)), "there is no living key")

    @pytest.mark.parametrize("overlap", ["99999999999999", "-5"])
    def test_an_overlap_that_cannot_be_is_wrong_usage(self, office: Office, overlap: str) -> None:
        key = office.service.key("finance")
        failed(office.keys("rotate", id_of(key), f"--overlap={overlap}"), "--overlap", code=2)

    @pytest.mark.parametrize("name", ["", "two\nlines", "a\ttab", "half \udcff a character"])
    def test_a_name_that_no_list_can_show_is_refused(self, ledger: Service, name: str) -> None:
        failed(ledger.command("keys", "create", "--role", "admin", "--name", name), "name")

    @pytest.mark.parametrize("mask", ["", "!demo*", " , "])
    def test_a_mask_that_reaches_nothing_is_refused(self, ledger: Service, mask: str) -> None:
        arguments = ("--role", "admin", "--name", "x", "--groups", mask)
        failed(ledger.command("keys", "create", *arguments), "reaches nothing")


class TestLedgers:
    def test_create_makes_a_ledger_with_keys_of_its_own(self, office: Office) -> None:
        name = f"made_{next(_numbers)}"
        before = office.service.run("ledgers", "list").output.splitlines()
        assert office.service.run("ledgers", "create", name).output == f"{name}\n"
        assert office.service.run("ledgers", "list").output.splitlines() == sorted([*before, name])
        failed(office.service.command("ledgers", "create", name), f"there is a ledger {name} already")
        other = Service(("--database-url", office.database_url), office.service.log, ledger=name)
        assert other.command("migrate").output == "nothing to do\n"
        assert other.command("keys", "list").output == ""
        assert said(office.call(other.key(), "GET", "/server")) == (401, "key_unknown")

    @pytest.mark.parametrize(
        "name", ["Main", "1st", "a-b", "", "a b", 'x"; DROP SCHEMA ledger_main', "a" * 41]
    )
    def test_a_name_is_small_letters_digits_and_underscores(self, office: Office, name: str) -> None:
        failed(office.service.command("ledgers", "create", name), "a ledger's name is a small letter")

    @pytest.mark.parametrize("words", ["keys list", "verify", "rebuild", "keys revoke abc"])
    def test_a_ledger_that_is_not_there_is_an_error_that_names_the_command(
        self, database_url: str, tmp_path: Path, words: str
    ) -> None:
        service = Service(("--database-url", database_url), tmp_path / "log", ledger="nosuch")
        failed(
            service.run(*words.split()),
            "check --ledger, or make it by `fundledger migrate --database-url URL --ledger nosuch`",
        )


class TestVerifyAndRebuild:
    def test_verify_names_the_altered_row_and_rebuild_puts_it_right(self, office: Office) -> None:
        assert office.deposit(office.admin, 12.34).status_code == 201
        done = office.service.run("verify")
        assert (done.code, done.errors) == (0, "")
        rows(office.database_url, "UPDATE accounts SET balance = balance + 1 WHERE login = 1001")
        done = office.service.run("verify")
        assert done.code == 1
        assert [line.split(":")[0] for line in done.output.splitlines()] == [
            "accounts, live only",
            "accounts, rebuilt only",
        ]
        assert all('"login": 1001' in line for line in done.output.splitlines())
        assert done.errors.startswith("fundledger: 2 differences; `fundledger rebuild` mends read models")
        assert re.fullmatch(r"rebuilt from \d+ events\n", office.service.run("rebuild").output)
        assert office.service.command("verify").code == 0
        assert office.deposit(office.admin).status_code == 201
        assert office.service.command("verify").code == 0

    @pytest.mark.parametrize("table", ["history", "keys"])
    def test_verify_sees_a_row_that_was_deleted(self, ledger: Service, database_url: str, table: str) -> None:
        ledger.key()
        self._book(ledger)
        name = ledger.where[-1]
        rows(database_url, f"DELETE FROM {table}", ledger=name)
        done = ledger.command("verify")
        assert done.code == 1
        assert done.output.startswith(f"{table}, rebuilt only: ")

    def test_verify_recomputes_every_leaf_hash(self, ledger: Service, database_url: str) -> None:
        self._book(ledger)
        name = ledger.where[-1]
        forge = (
            "UPDATE ledger_events SET state = convert_to(replace(convert_from(state, 'UTF8'),"
            " '\"a admin\"', '\"a thief\"'), 'UTF8') WHERE notification_id = 1"
        )
        rows(database_url, forge, ledger=name)
        done = ledger.command("verify")
        assert done.code == 1
        assert "position 1" in done.output
        assert "leaf hash" in done.output
        rebuilt = ledger.command("rebuild")
        assert (rebuilt.code, rebuilt.output) == (1, "")
        assert "position 1" in rebuilt.errors

    def test_an_event_of_an_unknown_type_stops_a_rebuild_and_is_named(
        self, ledger: Service, database_url: str
    ) -> None:
        self._book(ledger)
        rows(database_url, FROM_THE_FUTURE, ledger=ledger.where[-1])
        failed(ledger.command("rebuild"), "from-the-future")
        verified = ledger.command("verify")
        assert verified.code == 1
        for words in (ledger.command("rebuild").errors, verified.output):
            assert re.search(r"position 2\b", words)

    def _book(self, ledger: Service) -> None:
        """Serve for a moment, and book a deposit."""
        try:
            ledger.start()
            with ledger.client() as client:
                client.put("/groups/standard", json={"currency": "USD"})
                client.post("/users", json={"login": 1001, "group": "standard"})
                body = {"login": 1001, "amount": 5}
                headers = {"x-request-id": "r1"}
                assert client.post("/balances/deposit", json=body, headers=headers).status_code == 201
            ledger.stop()
        finally:
            end(ledger)
