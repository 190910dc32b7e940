"""The mirror of the log: every event in order, none missed, none twice, none that a key may not see."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
import pytest

from api.audit import Follower
from api.database import Database
from api.followers import Tail
from api.middleware import introduce
from api.service import Service
from projections.accounts import PERSONAL
from tests.api.served import BOUND_S, Caller, Served, new_id, number, serving
from tests.drive import HANG_S, settled
from tests.mirror import Item, Mirror
from tests.service import within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

PERSON = {name: f"secret {name}" for name in PERSONAL}


def mirror_of(caller: Caller) -> Mirror:
    assert caller.key is not None
    return Mirror(caller.served.url, caller.key)


def followers(served: Served) -> int:
    text = served.http.get(served.url + "/metrics").text
    found = re.search(r"^fundledger_followers (\d+)", text, flags=re.MULTILINE)
    assert found is not None, text
    return int(found[1])


def end(served: Served) -> int:
    return served.last_position


@pytest.fixture(scope="module")
def mirror(admin: Caller) -> Mirror:
    """Give an auditor who sees everything, in a ledger in which some things have happened."""
    login, other = admin.open(balance="100"), admin.open("vip")
    admin.booked("transfer", from_=login, to=other, amount=1)
    admin.booked("withdraw", login=login, amount=1, comment='a "quoted"\nline \u2028 €')
    return mirror_of(admin)


class TestPages:
    def test_every_event_comes_once_and_in_order(self, served: Served, mirror: Mirror) -> None:
        everything = list(range(1, end(served) + 1))
        assert [item.position for item in mirror.read()] == everything
        assert [item.position for item in mirror.read(limit=3)] == everything
        assert [item.position for item in mirror.read(after=5, limit=1)] == everything[5:]

    def test_data_is_byte_for_byte_what_was_hashed(self, served: Served, mirror: Mirror) -> None:
        items = {item.position: item for item in mirror.read()}
        rows = served.ledger.rows("SELECT notification_id, state, leaf_hash FROM ledger_events")
        kept = [(items[position], state, leaf_hash) for position, state, leaf_hash in rows]
        assert {item.type for item, *_ in kept if not item.untouched} == {"key-created"}
        for item, state, leaf_hash in kept:
            if item.untouched:
                assert (bytes(item.data), item.leaf_hash) == (bytes(state), leaf_hash.hex())

    def test_an_item_says_who_asked_for_what(self, admin: Caller, mirror: Mirror) -> None:
        body, sent = {"login": admin.open(), "amount": number("12.50")}, new_id()
        answer = admin.send(
            "POST", "/balances/deposit", body, headers={"x-request-id": sent, "x-operator-id": "Ann"}
        )
        [item] = mirror.read(after=answer["position"] - 1)
        assert (item.type, item.operation_id) == ("money-moved", answer["operationId"])
        assert (item.request_id, item.operator_id, item.key_id) == (sent, "Ann", admin.key_id)
        assert (item.login, item.recorded_at) == (body["login"], answer["recordedAt"])
        assert (item.said["amount"], item.said["digits"], item.said["currency"]) == (1250, 2, "USD")

    def test_both_legs_of_a_transfer_name_their_operation(self, admin: Caller, mirror: Mirror) -> None:
        answer = admin.booked("transfer", from_=admin.open(balance="1"), to=admin.open(), amount=1)
        legs = mirror.read(after=answer["position"] - 1)
        assert [leg.operation_id for leg in legs] == [answer["operationId"]] * 2

    def test_next_stays_where_it_was_at_the_end(self, served: Served, mirror: Mirror) -> None:
        page = mirror.page(after=end(served))
        assert (page.events, page.next) == ([], end(served))

    def test_a_position_that_the_log_has_not_come_to_is_refused(self, served: Served, admin: Caller) -> None:
        beyond = end(served) + 1
        for path in ("/audit/events", "/audit/stream"):
            answer = admin.get(path, after=beyond)
            assert (answer.said, answer["field"]) == ((400, "position_ahead"), "after")

    @pytest.mark.parametrize(
        ("name", "value"),
        [("limit", 0), ("limit", 10_001), ("after", -1), ("wait", 31), ("wait", "a"), ("since", 1)],
    )
    def test_what_is_out_of_bounds_is_refused_by_name(self, admin: Caller, name: str, value: object) -> None:
        answer = admin.get("/audit/events", **{name: value})
        assert (answer.status, answer["field"]) == (400, name)


class TestWaiting:
    def test_a_waiting_reader_is_answered_by_the_next_event(self, served: Served, admin: Caller) -> None:
        login, after = admin.open(), end(served)
        with ThreadPoolExecutor(1) as other:
            waiting = other.submit(mirror_of(admin).page, after=after, wait=30, timeout=20)
            within(BOUND_S, lambda: followers(served) == 1)
            booked = admin.booked("deposit", login=login, amount=1)
            page = waiting.result()
        assert [item.operation_id for item in page.events] == [booked["operationId"]]
        assert page.next == after + 1

    def test_who_waits_in_vain_is_told_so(self, served: Served, mirror: Mirror) -> None:
        page = mirror.page(after=end(served), wait=1)
        assert (page.events, page.next) == ([], end(served))

    def test_what_is_there_is_not_waited_for(self, mirror: Mirror) -> None:
        assert [item.position for item in mirror.page(limit=2, wait=30, timeout=20).events] == [1, 2]

    def test_what_another_process_books_is_found(
        self, database_url: str, admin: Caller, tmp_path: Path
    ) -> None:
        with serving(database_url, tmp_path / "log") as other:
            login, after = admin.open(), end(admin.served)
            with ThreadPoolExecutor(1) as threads:
                waiting = threads.submit(mirror_of(admin).page, after=after, wait=30, timeout=20)
                within(BOUND_S, lambda: followers(admin.served) == 1)
                booked = Caller(other, admin.key).booked("deposit", login=login, amount=1)
                [item] = waiting.result().events
            assert item.operation_id == booked["operationId"]

    def test_a_key_that_dies_meanwhile_is_told_of_nothing_but_its_death(
        self, served: Served, admin: Caller
    ) -> None:
        auditor = served.caller("manager", "--groups", "vip")
        with ThreadPoolExecutor(1) as other:
            waiting = other.submit(auditor.get, "/audit/events", after=end(served), wait=25)
            within(BOUND_S, lambda: followers(served) == 1)
            served.command("keys", "revoke", auditor.key_id)
            answer = waiting.result()
        if answer.status == 200:
            assert [event["type"] for event in answer["events"]] == ["key-revoked"]
        else:
            assert answer.said == (401, "key_revoked")


class TestStreams:
    def test_a_stream_brings_the_past_and_then_what_happens(self, served: Served, admin: Caller) -> None:
        login, past = admin.open(), end(served)
        with mirror_of(admin).stream() as items:
            assert [item.position for item in islice(items, past)] == list(range(1, past + 1))
            booked = admin.booked("deposit", login=login, amount=1)
            assert next(items).operation_id == booked["operationId"]

    def test_items_are_those_of_the_pages(self, mirror: Mirror) -> None:
        paged = mirror.read()
        with mirror.stream() as items:
            streamed = list(islice(items, len(paged)))
        assert list(map(msgspec.structs.asdict, streamed)) == list(map(msgspec.structs.asdict, paged))

    def test_a_reader_goes_on_after_what_it_last_received(self, mirror: Mirror) -> None:
        with mirror.stream() as items:
            last = [item.position for item in islice(items, 4)][-1]
        with mirror.stream(last=last) as items:
            assert next(items).position == last + 1

    def test_what_was_last_received_wins_over_where_the_stream_once_began(self, mirror: Mirror) -> None:
        with mirror.stream(query={"after": 2}) as items:
            assert next(items).position == 3
        with mirror.stream(last=5, query={"after": 2}) as items:
            assert next(items).position == 6

    @pytest.mark.parametrize("last", ["-1", "x", "1.5", "9" * 16, "٣"])
    def test_a_last_event_id_that_is_no_position_is_refused(self, admin: Caller, last: str) -> None:
        answer = admin.send("GET", "/audit/stream", headers={"last-event-id": last.encode()})
        assert (answer.status, answer["field"]) == (400, "Last-Event-ID")

    def test_of_two_last_event_ids_the_last_counts(self, served: Served, admin: Caller) -> None:
        headers = [("authorization", f"Bearer {admin.key}"), ("last-event-id", "1"), ("last-event-id", "x")]
        with served.http.stream("GET", f"{served.url}/audit/stream", headers=headers) as answer:
            assert answer.status_code == 400

    def test_a_stream_is_not_to_be_kept_or_held_back_on_its_way(self, mirror: Mirror) -> None:
        with mirror.connection() as answer:
            assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-request-id"]

    def test_the_stream_of_a_revoked_key_ends(self, served: Served) -> None:
        auditor = served.caller()
        past = end(served)
        with mirror_of(auditor).stream(timeout=10) as items:  # sooner than the next comment
            assert len(list(islice(items, past))) == past
            served.command("keys", "revoke", auditor.key_id)
            assert [item.type for item in items] in ([], ["key-revoked"])
        within(BOUND_S, lambda: followers(served) == 0)

    def test_readers_that_go_away_leave_nothing_open(self, served: Served, mirror: Mirror) -> None:
        for _ in range(10):
            with mirror.stream(), mirror.stream() as items:
                next(items)
        within(BOUND_S, lambda: followers(served) == 0)
        assert [item.position for item in mirror.read()] == list(range(1, end(served) + 1))

    def test_a_lost_connection_to_the_database_does_not_end_a_stream(
        self, served: Served, admin: Caller
    ) -> None:
        login, past = admin.open(), end(served)
        with mirror_of(admin).stream(last=past - 1) as items:
            assert next(items).position == past
            served.ledger.rows(_END_READERS)
            booked = admin.booked("deposit", login=login, amount=1)
            assert next(items).operation_id == booked["operationId"]

    def test_a_service_that_stops_lets_its_readers_go(
        self, database_url: str, admin: Caller, tmp_path: Path
    ) -> None:
        other = Served(database_url, tmp_path / "log")
        past = end(other)
        with Mirror(other.url, str(admin.key)).stream() as items, ThreadPoolExecutor(1) as threads:
            assert len(list(islice(items, past))) == past
            waiting = threads.submit(Mirror(other.url, str(admin.key)).page, after=past, wait=30)
            within(BOUND_S, lambda: followers(other) == 2)
            assert other.stop() == 0
            assert list(items) == []  # to the end that the protocol knows, or httpx would raise
            assert waiting.result().events == []
        assert other.troubles == []


_END_READERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND strpos(query, 'max(notification_id)') > 0"
)


class TestSecrets:
    def test_the_hash_of_a_key_stays_inside(self, served: Served, mirror: Mirror) -> None:
        hashes = [digest for (digest,) in served.ledger.rows("SELECT secret_hash FROM keys")]
        keys = [item for item in mirror.read() if item.type == "key-created"]
        assert len(keys) == len(hashes) > 0
        for item in keys:
            assert (item.said["secretHash"], item.leaf_hash, item.blanked) == ("", None, ["secretHash"])
            assert not any(digest.encode() in bytes(item.data) for digest in hashes)

    def test_personal_fields_are_blank_without_the_scope(self, served: Served, admin: Caller) -> None:
        before = end(served)
        login = admin.post("/users", {"group": "standard", **PERSON})["login"]
        admin.send("PATCH", f"/users/{login}", PERSON)
        admin.send("PATCH", f"/users/{login}", {"leverage": 50})
        opened, updated, without = mirror_of(admin).read(after=before)
        assert opened.untouched
        assert PERSON.items() <= opened.said.items()
        assert PERSON.items() <= updated.said.items()
        assert without.untouched

    def test_a_key_without_the_scope_is_told_what_was_blanked(self, served: Served, admin: Caller) -> None:
        before = end(served)
        login = admin.post("/users", {"group": "standard", **PERSON})["login"]
        admin.send("PATCH", f"/users/{login}", PERSON)
        admin.send("PATCH", f"/users/{login}", {"leverage": 50})
        opened, updated, without = asyncio.run(_items(served, admin, before, scopes={"audit:read"}))
        for item in (opened, updated):
            assert sorted(item.blanked or []) == sorted(PERSONAL)
            assert item.leaf_hash is None
            assert b"secret" not in bytes(item.data)
        assert (without.blanked, without.untouched) == (None, True)


class TestReach:
    def test_a_mirror_shows_only_what_its_key_may_see_and_moves_on_past_the_rest(
        self, served: Served, admin: Caller
    ) -> None:
        before, mine, theirs = end(served), admin.open("vip"), admin.open("standard")
        for login in (mine, theirs, mine):
            admin.booked("deposit", login=login, amount=1)
        auditor = mirror_of(served.caller("manager", "--groups", "vip"))
        seen = auditor.read(after=before)
        assert [item.login for item in seen if item.login is not None] == [mine, mine, mine]
        assert auditor.page(after=before + 1, limit=1).events == []
        assert auditor.page(after=before + 1, limit=1).next == before + 2

    def test_a_key_of_some_logins_sees_theirs(self, served: Served, admin: Caller) -> None:
        before, mine, theirs = end(served), admin.open(balance="5"), admin.open()
        admin.booked("transfer", from_=mine, to=theirs, amount=1)
        seen = mirror_of(served.caller("manager", "--logins", str(mine))).read(after=before)
        of_accounts = [(item.login, item.type) for item in seen if item.login is not None]
        assert of_accounts == [(mine, kind) for kind in ("account-opened", "money-moved", "money-moved")]

    def test_the_present_group_counts(self, served: Served, admin: Caller) -> None:
        before, login = end(served), admin.open("standard")
        auditor = mirror_of(served.caller("manager", "--groups", "vip"))
        assert [item.login for item in auditor.read(after=before) if item.login == login] == []
        admin.send("PATCH", f"/users/{login}", {"group": "vip"})
        assert [item.type for item in auditor.read(after=before) if item.login == login] == [
            "account-opened",
            "account-updated",
        ]

    def test_groups_outside_of_the_mask_are_left_out(self, served: Served, mirror: Mirror) -> None:
        auditor = mirror_of(served.caller("manager", "--groups", "v*"))
        assert {item.said["group"] for item in auditor.read() if item.type == "group-defined"} == {"vip"}

    @pytest.mark.parametrize("reach", [("--groups", "vip"), ("--groups", "*", "--logins", "1")])
    def test_of_keys_only_who_reaches_everything_is_told(
        self, served: Served, mirror: Mirror, reach: tuple[str, ...]
    ) -> None:
        revoked = served.caller("manager", "--logins", "4711")
        served.command("keys", "revoke", revoked.key_id)
        of_keys = {"key-created", "key-revoked"}
        assert {item.type for item in mirror.read()} >= of_keys
        limited = mirror_of(served.caller("admin", *reach))
        assert of_keys.isdisjoint({item.type for item in limited.read()})

    def test_who_waits_is_not_woken_by_what_it_may_not_see(self, served: Served, admin: Caller) -> None:
        hidden, shown = admin.open("standard"), admin.open("vip")
        auditor = served.caller("manager", "--groups", "vip")
        after = end(served)
        with ThreadPoolExecutor(1) as other:
            waiting = other.submit(mirror_of(auditor).page, after=after, wait=30, timeout=20)
            within(BOUND_S, lambda: followers(served) == 1)
            admin.booked("deposit", login=hidden, amount=1)
            booked = admin.booked("deposit", login=shown, amount=1)
            page = waiting.result()
        assert [item.operation_id for item in page.events] == [booked["operationId"]]
        assert page.next == after + 2


class TestWaking:
    """A follower is woken by the writer of its process, or by a look at the log; both alone suffice."""

    def test_a_commit_of_this_process_wakes_at_once(self) -> None:
        async def run() -> None:
            tail = Tail(_standing(0))
            waiting = asyncio.create_task(tail.beyond(0, within_s=HANG_S * 2))
            await asyncio.sleep(0)
            tail.reached(1)
            await waiting

        asyncio.run(asyncio.wait_for(run(), HANG_S))

    def test_a_look_finds_what_another_process_booked(self) -> None:
        async def run() -> None:
            tail = Tail(_standing(1))
            tail.start()
            await tail.beyond(0, within_s=HANG_S * 2)
            await tail.stop()

        asyncio.run(asyncio.wait_for(run(), HANG_S))

    def test_a_log_that_fell_back_is_waited_for_again(self) -> None:
        async def run() -> None:
            tail = Tail(_standing(1))
            tail.reached(5)  # which another server, promoted since, has never seen
            assert await tail.find() == 1
            waiting = asyncio.create_task(tail.beyond(1, within_s=HANG_S * 2))
            await asyncio.sleep(0)
            assert not waiting.done()
            tail.reached(2)
            await waiting

        asyncio.run(asyncio.wait_for(run(), HANG_S))

    def test_the_end_of_the_service_wakes_everybody(self) -> None:
        async def run() -> None:
            tail = Tail(_standing(0))
            waiting = [asyncio.create_task(tail.beyond(0, within_s=HANG_S * 2)) for _ in range(3)]
            await asyncio.sleep(0)
            tail.end()
            await asyncio.gather(*waiting)
            await tail.beyond(0, within_s=HANG_S * 2)

        asyncio.run(asyncio.wait_for(run(), HANG_S))


def _standing(position: int) -> Callable[[], Awaitable[int]]:
    async def look() -> int:
        return position

    return look


def test_a_quiet_stream_says_that_it_is_still_there(served: Served, admin: Caller) -> None:
    async def run() -> list[bytes]:
        async with _inside(served, admin) as follower:
            quiet = follower.stream(end(served), heartbeat_s=0)
            said = [await anext(quiet), await anext(quiet)]
            await quiet.aclose()
            return said

    said = asyncio.run(asyncio.wait_for(run(), HANG_S))
    assert said == [b"retry: 1000\n\n", b": still here\n\n"]


def test_a_follower_holds_no_connection_while_its_reader_is_slow(served: Served, admin: Caller) -> None:
    async def run() -> None:
        async with _inside(served, admin) as follower:
            streams = [follower.stream(0) for _ in range(20)]
            for stream in streams:  # more than there are connections, each stopped before its second step
                await anext(stream)
                assert (await anext(stream)).startswith(b"id: 1\n")
            for stream in streams:
                await stream.aclose()
            await settled(lambda: follower._service.tail.open == 0)

    asyncio.run(asyncio.wait_for(run(), HANG_S))


class _inside:  # noqa: N801 - used as a function
    """A service in this process, and a follower of it with a caller's key."""

    def __init__(self, served: Served, caller: Caller, scopes: set[str] | None = None) -> None:
        self._service = Service(Database(served.database_url, "main"), ledger="main")
        self._authorization = f"Bearer {caller.key}".encode()
        self._scopes = scopes

    async def __aenter__(self) -> Follower:
        await self._service.start()
        key = await self._service.keys.check(self._authorization)
        if self._scopes is not None:
            key = msgspec.structs.replace(key, scopes=frozenset(self._scopes))
        return Follower(self._service, introduce({}, key), self._authorization)

    async def __aexit__(self, *_: object) -> None:
        await self._service.stop()


async def _items(served: Served, caller: Caller, after: int, *, scopes: set[str]) -> list[Item]:
    async with _inside(served, caller, scopes) as follower:
        quiet = follower.stream(after)
        await anext(quiet)
        chunk = await anext(quiet)
        await quiet.aclose()
    lines = [line.removeprefix("data: ") for line in chunk.decode().split("\n") if line.startswith("data: ")]
    return [msgspec.json.decode(line, type=Item) for line in lines]
