"""A wire to whatever service a module has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz.wire import Wire

if TYPE_CHECKING:
    from tests.service import Service


@pytest.fixture(scope="module")
def wire(service: Service) -> Wire:
    """Give a caller's wire to a ledger with one account."""
    wire = Wire(service.url, service.key())
    assert wire.call(b"PUT /groups/standard", b'{"currency":"USD"}').status == 200
    assert wire.call(b"POST /users", b'{"login":1001,"group":"standard"}').status == 201
    return wire
