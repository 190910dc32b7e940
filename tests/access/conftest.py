"""One running service for all that is asked about access, and whoever may do everything on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.api.served import Caller, Served, define_groups, serving
from tests.conftest import _database

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def shared_url(server_url: str, template: str) -> Iterator[str]:
    """Yield the superuser's URL of a database that all files of this directory share."""
    with _database(server_url, template=template) as (_, url):
        yield url


@pytest.fixture(scope="session")
def served(shared_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Yield a service on it; it must end cleanly, have met no fault and no trouble."""
    with serving(shared_url, tmp_path_factory.mktemp("access") / "log") as service:
        yield service
    assert service.troubles == []


@pytest.fixture(scope="session")
def admin(served: Served) -> Caller:
    """Give a caller who may do everything, in a ledger with groups."""
    caller = served.caller()
    define_groups(caller)
    return caller
