"""What the console keeps while it is served: its sessions, templates, assets, and where it is mounted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from jinja2 import Environment, Template

from api.console.assets import read_assets
from api.console.sessions import Sessions
from api.console.writing import compiled

if TYPE_CHECKING:
    from api.service import Service


class Console:
    """The console of one service."""

    def __init__(self, service: Service, *, base_path: str) -> None:
        self.service = service
        self.base = f"{base_path.rstrip('/')}/console"
        self.sessions = Sessions()
        self.assets = read_assets()
        self._templates: Environment | None = None
        # Cookies do not tell ports apart: two ledgers of one machine must not sign each other out.
        self.cookie = f"fundledger_{service.ledger}"
        self.visit_cookie = f"{self.cookie}_visit"

    async def open(self) -> None:
        """Compile the templates with the first page that is asked for, beside the event loop."""
        if self._templates is None:
            self._templates = await asyncio.to_thread(compiled, self.base, self.assets)

    def template(self, name: str) -> Template:
        """Give a template."""
        assert self._templates is not None
        return self._templates.get_template(name)
