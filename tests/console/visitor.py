"""Someone at the console without a browser: signs in, reads pages as text, sends forms as they stand."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from tests.api.served import BOUND_S
from tests.service import KEPT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.api.served import Served

VOID = {"meta", "link", "input", "br", "hr", "img"}


class Form:
    """A form as a page holds it: where it goes, how, and what is filled in."""

    def __init__(self, action: str, method: str) -> None:
        self.action = action
        self.method = method
        self.fields: dict[str, str] = {}


class Page(HTMLParser):
    """A page read: its text, tables, links and forms."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.answer = answer
        self.status = answer.status_code
        self.path = urlsplit(str(answer.url)).path
        self.html = answer.text
        self.words: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.links: list[str] = []
        self.forms: list[Form] = []
        self.title = ""
        self._open: list[str] = []
        self._select = ""
        self._textarea = ""
        self.feed(self.html)
        self.tables = [[[" ".join(cell.split()) for cell in row] for row in table] for table in self.tables]

    @property
    def text(self) -> str:
        """What can be read, blanks made one."""
        return " ".join(" ".join(self.words).split())

    @property
    def rows(self) -> list[list[str]]:
        """The rows of the first table."""
        return self.tables[0]

    def form(self, ends: str) -> Form:
        """Give the form whose address ends so."""
        [found] = [form for form in self.forms if form.action.endswith(ends)]
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of what begins."""
        given = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self._open.append(tag)
        if tag != "i" and self._in_cell:
            self._say(" ")
        match tag:
            case "table":
                self.tables.append([])
            case "tr":
                self.tables[-1].append([])
            case "td" | "th":
                span = int(given.get("colspan", 1))
                self.tables[-1][-1] += [""] * span
                self._cell = -span
            case "a":
                self.links.append(given.get("href", ""))
            case "form":
                self.forms.append(Form(given["action"], given.get("method", "get")))
            case "select":
                self._select = given["name"]
            case "textarea":
                self._textarea = given["name"]
                self.forms[-1].fields[self._textarea] = ""
            case "option":
                fields = self.forms[-1].fields
                if "selected" in given or self._select not in fields:
                    fields[self._select] = given.get("value", "")
            case "input" if given.get("type") != "checkbox":
                self.forms[-1].fields[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """Take note of what ends."""
        while self._open and self._open.pop() != tag:
            pass
        if tag == "textarea":
            self._textarea = ""

    def handle_data(self, data: str) -> None:
        """Take note of text."""
        if "title" in self._open:
            self.title += data
        elif self._textarea:
            self.forms[-1].fields[self._textarea] += data
        elif "script" not in self._open and "option" not in self._open:
            self.words.append(data)
        if self._in_cell:
            self._say(data)

    @property
    def _in_cell(self) -> bool:
        return bool({"td", "th"} & {*self._open}) and bool(self.tables and self.tables[-1][-1])

    def _say(self, data: str) -> None:
        self.tables[-1][-1][self._cell] += data


class Visitor:
    """Someone with the cookies of one browser."""

    def __init__(self, served: Served) -> None:
        self.url = f"{served.url}/console"
        self.http = httpx.Client(trust_env=False, timeout=BOUND_S, limits=KEPT, follow_redirects=True)

    def sign_in(self, key: str, operator: str = "", **fields: str) -> Page:
        """Sign in by the form."""
        form = self.get("/sign-in").form("/sign-in")
        return self.send(form, key=key, operator=operator, **fields)

    def get(self, path: str, query: Mapping[str, Any] | None = None, **options: Any) -> Page:
        """Read a page."""
        return Page(self.http.get(self.url + path, params=query, **options))

    def file(self, path: str, query: Mapping[str, Any] | None = None) -> httpx.Response:
        """Get a file."""
        answer = self.http.get(self.url + path, params=query)
        assert answer.status_code == 200, answer.text
        return answer

    def send(self, form: Form, **fields: str) -> Page:
        """Send a form with more filled in."""
        filled = form.fields | fields
        to = httpx.URL(self.url).join(form.action)
        if form.method == "post":
            return Page(self.http.post(to, data=filled))
        return Page(self.http.get(to, params={name: value for name, value in filled.items() if value}))

    @property
    def cookie(self) -> str:
        """The name of the session's cookie."""
        [name] = [name for name in self.http.cookies if not name.endswith("_visit")]
        return name
