"""The logins of docs/operations.md, made by its own commands: each can do its work, and nothing more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from projections import roles, schema
from tests.logins import PASSWORD, as_login, login, say
from tests.service import (
    BOUND_S,
    Ran,
    Service,
    embedded_service,
    rows,
    run,
    service_on,
    superuser_url,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
LOGINS = ("migrator", "app", "bi")
DATABASE = "fundledger_logins"
LEDGER, OTHER = "logins", "logins_other"
"""The ledgers, whose roles nobody has made before: the page's is called main."""

WRITER = f"ledger_{LEDGER}_writer"


class Installation:
    """A database of its own, set up by what the page says, word for word but for the names of the logins."""

    def __init__(self, server_url: str) -> None:
        section = PAGE.read_text().split("### Logins and roles\n", 1)[1].split("\n### ", 1)[0]
        self.steps = re.findall(r"^```(sql|sh)\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
        self.superuser = make_conninfo(server_url, dbname=DATABASE)

    def url(self, who: str) -> str:
        """Give the URL of one of the logins."""
        return as_login(self.superuser, f"test_{who}")

    def set_up(self) -> None:
        """Follow the page up to where the service is started."""
        said = [(kind, self._named(text)) for kind, text in self.steps]
        (_, by_superuser), (_, migrating), (_, by_migrator), (_, serving) = said
        self._sql(self.superuser, by_superuser)
        for who in LOGINS:
            self._sql(self.superuser, f"ALTER ROLE test_{who} PASSWORD '{PASSWORD}'")
        migrated = self.run(*self._command(migrating))
        assert migrated.code == 0, migrated.errors
        self._sql(self.url("migrator"), by_migrator)
        assert self._command(serving) == ("app", "serve")

    def run(self, who: str, *words: str) -> Ran:
        """Run a command by one of the logins."""
        return Service(("--database-url", self.url(who)), Path(), ledger=LEDGER).command(*words)

    def _named(self, text: str) -> str:
        text = re.sub(r"\bfundledger_(migrator|app|bi)\b", r"test_\1", text)
        text = text.replace("ledger_main_", f"ledger_{LEDGER}_")
        return text.replace("DATABASE fundledger ", f"DATABASE {DATABASE} ")

    def _command(self, text: str) -> tuple[str, ...]:
        """Give who runs which command."""
        found = re.fullmatch(
            r"fundledger (\w+) --database-url postgresql://test_(\w+)@HOST/fundledger\n", text
        )
        assert found is not None, text
        return found[2], found[1]

    def _sql(self, url: str, statements: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements.split(";"):
                if not _there_already(connection, statement):
                    say(connection, statement)


def _there_already(connection: psycopg.Connection[Any], statement: str) -> bool:
    """Tell whether a role of the whole server is there, which other ledgers have as well."""
    if f"CREATE ROLE {schema.OWNER}" not in statement:
        return False
    found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [schema.OWNER])
    return found.rowcount == 1


@pytest.fixture(scope="module")
def installation(server_url: str) -> Iterator[Installation]:
    with psycopg.connect(server_url, autocommit=True) as connection:
        clear(connection)
        say(connection, f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        made = Installation(server_url)
        made.set_up()
        yield made
        clear(connection)


def clear(connection: psycopg.Connection[Any]) -> None:
    """Remove what this module makes on the server; whoever granted a role goes after it."""
    own = [role for ledger in (LEDGER, OTHER) for role in roles.roles_of(schema.schema_of(ledger))]
    say(connection, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    for role in (*own, "test_bi", "test_app", "test_migrator"):
        say(connection, f"DROP ROLE IF EXISTS {role}")


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("import") / "accounts.csv"
    file.write_text("login,group,balance\n7001,standard,12.50\n")
    return file


def test_the_service_does_its_work_as_the_writer(installation: Installation, tmp_path: Path) -> None:
    with service_on(installation.url("app"), tmp_path / "log", ledger=LEDGER) as service:
        with service.client() as client:
            answers = [
                client.put("/groups/standard", json={"currency": "USD"}),
                client.put("/symbols/EURUSD", json=EURUSD),
                client.post("/users", json={"login": 1001, "group": "standard"}),
                client.post("/balances/deposit", json=DEPOSIT, headers={"x-request-id": "r1"}),
                client.post("/balances/withdraw", json=DEPOSIT, headers={"x-request-id": "r2"}),
                client.post("/feed/quotes", json={"seq": 1, "quotes": [["EURUSD", "1.1", "1.2"]]}),
                client.post("/feed/positions", json={"seq": 1, "kind": "snapshot", "positions": [POSITION]}),
                client.post("/feed/online", json={"logins": [1001]}),
                client.get("/accounts?groupFilter=*&limit=10&offset=0"),
                client.get("/balances/history?totals=true&format=csv"),
                client.get("/reports/users?format=csv"),
                client.get("/reports/exposure"),
                client.get("/reports/daily"),
                client.get("/audit/events"),
            ]
            assert [answer.status_code // 100 for answer in answers] == [2] * len(answers), answers
            assert client.post("/balances/deposit", json=DEPOSIT | {"login": 1}).status_code == 400
        service.stop()
        assert service.troubles() == []


EURUSD = {"digits": 5, "contractSize": 100_000, "baseCurrency": "EUR", "profitCurrency": "USD"}
DEPOSIT = {"login": 1001, "amount": "5.00"}
POSITION = {"ticket": 1, "login": 1001, "symbol": "EURUSD", "side": "buy", "lots": "0.1", "openPrice": "1.1"}

OWNERS = (("migrate",), ("ledgers", "create", OTHER), ("rebuild",), ("verify",))
WRITERS = (("keys", "create", "--role", "admin", "--name", "me"), ("keys", "list"))


def refused(done: Ran, login: str, role: str) -> None:
    """Hold a refusal against the promise: it says what to say."""
    assert (done.code, done.output) == (1, "")
    assert f"may not act as {role}: as an administrator say GRANT {role} TO test_{login}" in done.errors
    assert "Traceback" not in done.errors


def test_who_only_reads_reports_neither_serves_nor_exports(installation: Installation) -> None:
    for words in (("demo",), ("export", "nothing")):
        refused(installation.run("bi", *words), "bi", WRITER)
    served = run("serve", "--port", "0", "--ledger", LEDGER, "--database-url", installation.url("bi"))
    refused(served, "bi", WRITER)


def test_app_and_migrator_export_what_was_sealed(installation: Installation, tmp_path: Path) -> None:
    for who in ("app", "migrator"):
        done = installation.run(who, "export", str(tmp_path / who))
        assert "nothing is sealed yet" in done.errors


@pytest.mark.parametrize("words", WRITERS)
def test_who_books_works_with_keys(installation: Installation, words: tuple[str, ...]) -> None:
    for who in ("app", "migrator"):
        assert installation.run(who, *words).code == 0
    refused(installation.run("bi", *words), "bi", WRITER)


def test_the_app_login_imports_ends_and_rotates(installation: Installation, accounts: Path) -> None:
    done = installation.run("app", "import", str(accounts), "--dry-run")
    assert done.output.startswith("1 rows: "), done.errors
    key = installation.run("app", *WRITERS[0]).last_line.split("_")[1]
    rotated = installation.run("app", "keys", "rotate", key)
    assert rotated.code == 0, rotated.errors
    assert installation.run("app", "keys", "revoke", rotated.last_line.split("_")[1]).code == 0
    refused(installation.run("bi", "import", str(accounts)), "bi", WRITER)


@pytest.mark.parametrize("words", OWNERS)
def test_only_the_migrator_owns(installation: Installation, words: tuple[str, ...]) -> None:
    for who in ("app", "bi"):
        refused(installation.run(who, *words), who, schema.OWNER)
    done = installation.run("migrator", *words)
    assert done.code == 0, done.errors


def test_who_may_connect_may_list_the_ledgers(installation: Installation) -> None:
    for who in LOGINS:
        assert LEDGER in installation.run(who, "ledgers", "list").output.split()


def test_a_stranger_does_not_even_connect(installation: Installation) -> None:
    with login(installation.superuser) as url:
        done = Service(("--database-url", url), Path()).command("ledgers", "list")
        assert (done.code, done.output) == (1, "")
        assert "permission denied for database" in done.errors


@pytest.mark.parametrize(
    "done",
    [
        "SET ROLE fundledger_owner",
        "SET ROLE ledger_logins_other_writer",
        "SET ROLE NONE; DELETE FROM ledger_logins.ledger_events",
        "SET ROLE NONE; UPDATE ledger_logins.ledger_events SET topic = ''",
        "SET ROLE NONE; SELECT FROM ledger_logins_other.ledger_events",
        "CREATE TEMPORARY TABLE mine (x int)",
        "CREATE TABLE public.mine (x int)",
        "CREATE SCHEMA mine",
    ],
)
def test_the_app_login_gains_nothing_by_putting_its_role_off(installation: Installation, done: str) -> None:
    installation.run("migrator", "ledgers", "create", OTHER)
    with (
        psycopg.connect(installation.url("app"), autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        say(connection, done)


def test_the_reporting_login_reads_its_reports(installation: Installation) -> None:
    with psycopg.connect(installation.url("bi"), autocommit=True) as connection:
        connection.execute("TABLE ledger_logins.report_accounts")
        assert connection.execute("SHOW statement_timeout").fetchone() == ("5min",)
        for hidden in ("report_personal_accounts", "accounts", "ledger_events"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                say(connection, f"TABLE ledger_logins.{hidden}")


def test_on_the_embedded_server_the_service_is_no_superuser() -> None:
    with embedded_service() as service:
        url = superuser_url(Path(service.where[1]))
        # Who has prepared the ledger has hung up, and may still be seen for a moment.
        within(BOUND_S, lambda: rows(url, SESSIONS) == [("ledger_main_service",)])
        assert rows(url, MEMBERSHIPS) == [("ledger_main_writer",)]


SESSIONS = """
SELECT DISTINCT usename FROM pg_stat_activity
WHERE datname = 'fundledger' AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
MEMBERSHIPS = """
SELECT pg_get_userbyid(roleid) FROM pg_auth_members WHERE member = 'ledger_main_service'::regrole
"""
