"""A service that seals, and callers of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.api.served import Caller, Served, define_groups, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def seal_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Name the file of the service's seal key; the service makes it."""
    return tmp_path_factory.mktemp("seal") / "seal-key.pem"


@pytest.fixture(scope="module")
def served(database_url: str, seal_key: Path) -> Iterator[Served]:
    """Yield a service that seals; it must end cleanly and have met no fault."""
    with serving(database_url, seal_key.with_name("log"), "--seal-key", str(seal_key)) as service:
        yield service


@pytest.fixture(scope="module")
def admin(served: Served) -> Caller:
    """Give a caller who may do everything, in a ledger with groups."""
    caller = served.caller()
    define_groups(caller)
    return caller
