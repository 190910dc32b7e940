"""Sessions end by themselves, know nothing secret, and do not pile up."""

from __future__ import annotations

import pytest

from api.console.sessions import IDLE_S, LIFE_S, SESSIONS_MAX, Sessions


class Clock:
    """Tells the time that it was last given."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(clock)


def test_a_session_is_found_by_its_id_and_by_nothing_else(sessions: Sessions) -> None:
    session_id = sessions.begin(key_id="k1", operator_id="ann")
    found = sessions.find(session_id)
    assert found is not None
    assert (found.key_id, found.operator_id) == ("k1", "ann")
    for other in ("", "x", session_id[:-1], session_id + "=", found.form_token):
        assert sessions.find(other) is None


def test_a_session_ends_when_it_was_not_used_for_an_hour(sessions: Sessions, clock: Clock) -> None:
    session_id = sessions.begin(key_id="k1", operator_id=None)
    clock.now += IDLE_S - 1
    assert sessions.find(session_id) is not None
    clock.now += IDLE_S - 1
    assert sessions.find(session_id) is not None
    clock.now += IDLE_S
    assert sessions.find(session_id) is None
    clock.now -= IDLE_S
    assert sessions.find(session_id) is None


def test_a_session_ends_after_a_working_day_however_it_is_used(sessions: Sessions, clock: Clock) -> None:
    session_id = sessions.begin(key_id="k1", operator_id=None)
    for _ in range(int(LIFE_S // 600) - 1):
        clock.now += 600
        assert sessions.find(session_id) is not None
    clock.now += 600
    assert sessions.find(session_id) is None


def test_a_session_that_was_ended_is_gone_and_others_are_not(sessions: Sessions) -> None:
    mine, yours = (sessions.begin(key_id="k1", operator_id=None) for _ in range(2))
    sessions.end(mine)
    sessions.end("never-was")
    assert sessions.find(mine) is None
    assert sessions.find(yours) is not None


def test_ids_and_tokens_are_of_one_session_alone(sessions: Sessions) -> None:
    ids = [sessions.begin(key_id="k1", operator_id=None) for _ in range(50)]
    tokens = {session.form_token for session in map(sessions.find, ids) if session is not None}
    assert len({*ids}) == len(tokens) == 50
    assert min(map(len, (*ids, *tokens))) >= 32


def test_so_many_sessions_are_kept_and_the_longest_unused_gives_way(sessions: Sessions, clock: Clock) -> None:
    ids = []
    for _ in range(SESSIONS_MAX):
        clock.now += 1
        ids.append(sessions.begin(key_id="k1", operator_id=None))
    assert sessions.find(ids[0]) is not None
    clock.now += 1
    newest = sessions.begin(key_id="k1", operator_id=None)
    assert sessions.find(ids[1]) is None
    assert all(sessions.find(kept) is not None for kept in (ids[0], ids[2], ids[-1], newest))


def test_room_is_made_by_what_has_ended_first(sessions: Sessions, clock: Clock) -> None:
    ended = [sessions.begin(key_id="k1", operator_id=None) for _ in range(SESSIONS_MAX - 1)]
    clock.now += IDLE_S / 2
    kept = sessions.begin(key_id="k1", operator_id=None)
    clock.now += IDLE_S / 2
    newest = sessions.begin(key_id="k1", operator_id=None)
    assert sessions.find(kept) is not None
    assert sessions.find(newest) is not None
    assert not any(sessions.find(gone) for gone in ended)


def test_the_token_of_a_visit_is_known_to_this_process_alone(sessions: Sessions, clock: Clock) -> None:
    assert sessions.visit_token("visit") == sessions.visit_token("visit")
    assert sessions.visit_token("visit") != sessions.visit_token("another")
    assert sessions.visit_token("visit") != Sessions(clock).visit_token("visit")


def test_nothing_that_is_kept_leads_back_to_an_id(sessions: Sessions) -> None:
    session_id = sessions.begin(key_id="k1", operator_id=None)
    assert session_id not in repr(vars(sessions))
