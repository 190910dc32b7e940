"""The results of a batch: each is what its item alone would have got."""

from __future__ import annotations

from typing import Annotated

from msgspec import Raw

from api.shapes.funding import Booked, Rehearsed, Transferred, TransferRehearsed
from api.shapes.parts import Shape, either
from api.shapes.problems import Problem


class BookedItem(Booked, frozen=True, kw_only=True):
    """An item of a batch that was booked."""

    http_status: int


class TransferredItem(Transferred, frozen=True, kw_only=True):
    """An item of two legs that was booked."""

    http_status: int


class RehearsedItem(Rehearsed, frozen=True, kw_only=True):
    """What a dry run would have booked of an item."""

    http_status: int


class TransferRehearsedItem(TransferRehearsed, frozen=True, kw_only=True):
    """What a dry run would have booked of an item of two legs."""

    http_status: int


class RefusedItem(Problem, frozen=True, kw_only=True):
    """An item that was refused."""

    http_status: int


BatchItem = Annotated[
    Raw, either(BookedItem, TransferredItem, RehearsedItem, TransferRehearsedItem, RefusedItem)
]


class BatchResults(Shape, frozen=True, kw_only=True):
    """The results of the items, in order."""

    results: list[BatchItem]
