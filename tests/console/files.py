"""The files that the console gives, read back as a spreadsheet or a reader of PDF would."""

from __future__ import annotations

import base64
import csv
import io
import re
import zipfile
import zlib
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


class Cell(msgspec.Struct, frozen=True):
    """A cell of a workbook: what it says, and whether it is a number, a text or a formula."""

    says: str
    kind: str


def csv_rows(content: bytes) -> list[list[str]]:
    """Read a CSV."""
    return list(csv.reader(io.StringIO(content.decode())))


def workbook_rows(content: bytes) -> list[list[Cell]]:
    """Read the first sheet of a workbook."""
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        sheet = ElementTree.fromstring(parts.read("xl/worksheets/sheet1.xml"))  # noqa: S314 - our own
    return [[_cell(cell) for cell in row.iter(f"{_SHEET}c")] for row in sheet.iter(f"{_SHEET}row")]


def workbook_formulas(content: bytes) -> int:
    """Count the formulas and links of a workbook."""
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        sheets = b"".join(parts.read(name) for name in parts.namelist() if name.startswith("xl/worksheets/"))
    return len(re.findall(rb"<f[ >]|<hyperlink", sheets))


def _cell(cell: ElementTree.Element) -> Cell:
    if cell.get("t") == "inlineStr":
        return Cell("".join(text.text or "" for text in cell.iter(f"{_SHEET}t")), "text")
    value = cell.find(f"{_SHEET}v")
    return Cell("" if value is None else value.text or "", "empty" if value is None else "number")


def pdf_pages(content: bytes) -> list[list[str]]:
    """Read the pieces of text of each page, in the order in which they are drawn."""
    objects = {int(number): body for number, body in re.findall(rb"(?s)(\d+) 0 obj\s(.*?)\sendobj", content)}
    letters = {
        _one(rb"/Name /(\S+)", font): _letters(_stream(objects[int(_one(rb"/ToUnicode (\d+) 0 R", font))]))
        for font in objects.values()
        if b"/ToUnicode" in font
    }
    pages = [body for body in objects.values() if re.search(rb"/Type /Page\b", body)]
    drawn = [_stream(objects[int(_one(rb"/Contents (\d+) 0 R", page))]) for page in pages]
    return [list(_texts(page, letters)) for page in drawn]


def pdf_text(content: bytes) -> str:
    """Read everything, piece by piece, with blanks between."""
    return " ".join(piece for page in pdf_pages(content) for piece in page)


def _one(pattern: bytes, text: bytes) -> bytes:
    [found] = re.findall(pattern, text)
    return bytes(found)


def _stream(body: bytes) -> bytes:
    packed = _one(rb"(?s)stream\r?\n(.*?)\r?\n?endstream", body)
    if b"ASCII85Decode" in body:
        packed = base64.a85decode(packed.strip(), adobe=True)
    return zlib.decompress(packed)


def _letters(unicode: bytes) -> dict[int, str]:
    """Read which letter each byte of a font stands for."""
    return {
        int(byte, 16): chr(int(letter, 16))
        for byte, letter in re.findall(rb"<([0-9A-F]{2})> <([0-9A-F]{4})>", unicode)
    }


def _texts(page: bytes, letters: dict[bytes, dict[int, str]]) -> Iterator[str]:
    """Follow the fonts and texts of a page."""
    font: dict[int, str] = {}
    for name, text in re.findall(rb"(?s)/(\S+) [\d.]+ Tf|\(((?:[^()\\]|\\.)*)\) Tj", page):
        if name:
            font = letters.get(name, {})
        else:
            yield "".join(font[byte] for byte in _unescaped(text))


def _unescaped(text: bytes) -> bytes:
    def plain(found: re.Match[bytes]) -> bytes:
        escaped = found[1]
        return bytes([int(escaped, 8)]) if escaped.isdigit() else _ESCAPES.get(escaped, escaped)

    return re.sub(rb"(?s)\\([0-7]{3}|.)", plain, text)


_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
