"""One running service a module, on the module's own database, and the callers that most tests need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from projections import install
from tests.api.served import Caller, define_groups, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.api.served import Served


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the file that a module's service logs to."""
    return tmp_path_factory.mktemp("served") / "log"


@pytest.fixture(scope="module")
def served(database_url: str, log_file: Path) -> Iterator[Served]:
    """Yield a service on the module's database; it must end cleanly and have met no fault."""
    with serving(database_url, log_file) as service:
        yield service


@pytest.fixture(scope="module")
def admin(served: Served) -> Caller:
    """Give a caller who may do everything, in a ledger with groups."""
    caller = served.caller()
    define_groups(caller)
    return caller


@pytest.fixture(scope="module")
def nobody(served: Served) -> Caller:
    """Give a caller without a key."""
    return Caller(served, None)


@pytest.fixture(scope="module")
def served_elsewhere(database_url: str, log_file: Path) -> Iterator[Caller]:
    """Yield a caller of another ledger in the same database, served beside the first."""
    install.migrate(database_url, "elsewhere")
    with serving(database_url, log_file, ledger="elsewhere") as service:
        caller = service.caller()
        assert caller.put("/groups/standard", {"currency": "USD"}).status == 200
        yield caller
