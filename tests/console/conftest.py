"""One running service for all that is asked of the console, and the people who visit it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.api.served import Caller, Served, define_groups, serving
from tests.console.visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def served(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Yield a service on the module's database; it must end cleanly and have met no fault."""
    with serving(database_url, tmp_path_factory.mktemp("console") / "log") as service:
        yield service


@pytest.fixture(scope="module")
def admin(served: Served) -> Caller:
    """Give a caller who may do everything, in a ledger with groups."""
    caller = served.caller()
    define_groups(caller)
    return caller


@pytest.fixture(scope="module")
def arrive(served: Served) -> Iterator[Callable[..., Visitor]]:
    """Give a way to come to the console, without a session yet; of another service where one is named."""
    visitors: list[Visitor] = []

    def arrived(service: Served = served) -> Visitor:
        visitors.append(Visitor(service))
        return visitors[-1]

    yield arrived
    for visitor in visitors:
        visitor.http.close()


@pytest.fixture(scope="module")
def visit(served: Served, arrive: Callable[..., Visitor]) -> Callable[..., Visitor]:
    """Give a way to sign in with a new key of a role, or with a key that there is."""

    def signed_in(role: str = "manager", *options: str, key: str = "", operator: str = "") -> Visitor:
        visitor = arrive()
        page = visitor.sign_in(key or served.key(role, *options), operator)
        assert page.status == 200, page.text
        return visitor

    return signed_in


@pytest.fixture
def another_service(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Served]]:
    """Give a way to start one more service on the ledger; what still runs at the end is ended."""
    services: list[Served] = []

    def started(*options: str) -> Served:
        services.append(Served(database_url, tmp_path_factory.mktemp("another") / "log", *options))
        return services[-1]

    yield started
    for service in services:
        if service.process.returncode is None:
            assert service.stop() == 0


@pytest.fixture(scope="module")
def manager(visit: Callable[..., Visitor], admin: Caller) -> Visitor:
    """Give someone who may see and post everything."""
    return visit("manager", operator="Ann")
