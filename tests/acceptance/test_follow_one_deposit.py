"""One deposit goes the way that docs/architecture.md tells, function by function, in its order."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import sys
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import uvicorn

from api.app import create_app
from api.connections import Connection
from api.database import Database
from api.service import Service
from tests.service import BOUND_S, ROOT, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import FrameType

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Follow one deposit\n", 1)[1].split("\n## ", 1)[0]
STEPS = re.findall(r"`([a-z_/]+\.py)::([\w.]+)`", SECTION)

Function = tuple[str, str]
_numbers = count(1)


def defined(file: str, name: str) -> bool:
    """Tell whether a file has a function, or a class's function, of a name."""
    nodes: list[ast.stmt] = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    *classes, function = name.split(".")
    for wanted in classes:
        nodes = [
            inner
            for node in nodes
            if isinstance(node, ast.ClassDef) and node.name == wanted
            for inner in node.body
        ]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(node, kinds) and node.name == function for node in nodes)


def test_every_function_that_the_page_names_is_at_its_place() -> None:
    named = re.findall(r"`([a-z_/]+\.py)::([\w.]+)`", PAGE)
    assert [step for step in named if not defined(*step)] == []


def boxes() -> dict[str, list[str]]:
    """Give the lines of each box of the page's diagram."""
    [diagram] = re.findall(r"^```\n(.*?)^```", PAGE.split("\n## Follow", 1)[0], re.MULTILINE | re.DOTALL)
    parts = re.split(r"^\+-- (\w+).*$", diagram, flags=re.MULTILINE)[1:]
    return {
        title: [line for line in text.splitlines() if line.startswith("|")]
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


def test_the_boxes_of_the_diagram_are_closed_and_name_what_is_there() -> None:
    found = boxes()
    assert list(found) == ["api", "ledger", "projections", "PostgreSQL"]
    for package in ("api", "ledger", "projections"):
        for line in found[package]:
            assert line.rstrip().endswith("|"), line
            for name in re.findall(r"[a-z]+", line.partition(":")[0]):
                place = ROOT / package / name
                assert place.is_dir() or place.with_suffix(".py").exists(), f"{package}/{name}"
    schema = "".join(path.read_text() for path in ROOT.glob("*/sql/**/*.sql"))
    for line in found["PostgreSQL"]:
        for table in re.findall(r"[a-z_]+", line.split("   ", 1)[0]):
            assert re.search(rf"CREATE TABLE (IF NOT EXISTS )?{table} ", schema), table


class Trace:
    """The project's functions in the order in which they were first called."""

    def __init__(self) -> None:
        self.called: list[Function] = []
        self._root = f"{ROOT}/"

    def __enter__(self) -> Trace:
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(self._root):
            function = (code.co_filename.removeprefix(self._root), code.co_qualname)
            if function not in self.called:
                self.called.append(function)


class Server(uvicorn.Server):
    """A server within this process, on a port of its own."""

    def __init__(self, service: Service) -> None:
        plain: Any = {"loop": "none", "lifespan": "off", "log_config": None, "ws": "none"}
        super().__init__(uvicorn.Config(create_app(service), http=Connection, port=0, **plain))

    async def send(self, what: str, key: str, body: dict[str, Any] | None = None) -> str:
        """Send a request over a connection of its own; give the whole answer."""
        port = self.servers[0].sockets[0].getsockname()[1]
        content = b"" if body is None else json.dumps(body).encode()
        headers = {"host": "here", "connection": "close", "content-length": len(content)}
        headers |= {"authorization": f"Bearer {key}", "x-request-id": f"request-{next(_numbers)}"}
        head = "\r\n".join([f"{what} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{head}\r\n\r\n".encode() + content)
        answer = await asyncio.wait_for(reader.read(), BOUND_S)
        writer.close()
        await writer.wait_closed()
        return answer.decode()


@asynccontextmanager
async def serving(database_url: str) -> AsyncIterator[Server]:
    """Serve the ledger within this process."""
    service = Service(Database(database_url, "main"), ledger="main")
    await service.start()
    server = Server(service)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0)
        yield server
    finally:
        server.should_exit = True
        await task
        await service.stop()


async def follow(database_url: str, key: str) -> list[Function]:
    """Open an account, then trace one deposit and the read of its history."""
    async with serving(database_url) as server:
        await server.send("PUT /groups/standard", key, {"currency": "USD"})
        await server.send("POST /users", key, {"login": 1001, "group": "standard"})
    async with serving(database_url) as server:  # which remembers nothing yet, so it reads
        with Trace() as trace:
            booked = await server.send("POST /balances/deposit", key, {"login": 1001, "amount": 1500})
            history = await server.send("GET /balances/history?login=1001", key)
    assert " 201 " in booked, booked
    assert '"balanceAfter":1500.00' in history, history
    return trace.called


def test_a_deposit_calls_the_functions_that_the_page_names_in_its_order(database_url: str) -> None:
    where = ("--database-url", database_url)
    key = run("keys", "create", "--role", "admin", "--name", "me", *where).last_line
    called = asyncio.run(follow(database_url, key))
    assert [step for step in STEPS if step not in called] == []
    assert sorted(STEPS, key=called.index) == STEPS
    assert len(STEPS) > 25
