"""The PostgreSQL that comes with the service: one server in the data directory, run by the service itself."""

from __future__ import annotations

from api.embedded.errors import EmbeddedPostgresError
from api.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
