"""Whoever holds the books against the clients' memory sees a loss, a double, a half, a wrong amount."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from tests.faults.books import Findings, Line, findings, sums, wrong_accounts
from tests.faults.memory import Answer, Memory
from tests.faults.orders import batch, credit, deposit, single, transfer, withdrawal

ORDERS = [
    deposit("r1", 1001, Decimal("5.00")),
    deposit("r2", 1002, Decimal("7.00")),
    transfer("r3", 1001, 1002, Decimal("1.00")),
    credit("r4", 1001, Decimal("2.00")),
    deposit("r5", 1001, Decimal("9.00")),  # nobody knows of this one
]
NOTHING = Decimal(0)
LINES = [
    Line("r1", 1001, Decimal(5), NOTHING, "bal_1", 1),
    Line("r2", 1002, Decimal(7), NOTHING, "bal_2", 2),
    Line("r3", 1001, Decimal(-1), NOTHING, "bal_3", 3),
    Line("r3", 1002, Decimal(1), NOTHING, "bal_3", 4),
    Line("r4", 1001, NOTHING, Decimal(2), "bal_5", 5),
    Line("r5", 1001, Decimal(9), NOTHING, "bal_6", 6),
]


def answer(status: int, body: str, **headers: str) -> Answer:
    return Answer(status, headers, body.encode())


@pytest.fixture
def memory() -> Memory:
    memory = Memory()
    for order, operation in zip(ORDERS, ("bal_1", "bal_2", "bal_3", "bal_5", ""), strict=True):
        memory.asks(single(order))
        if operation:
            memory.told(single(order), answer(201, f'{{"operationId":"{operation}"}}'))
        else:
            memory.left(single(order))
    return memory


def test_books_that_are_right_have_no_fault(memory: Memory) -> None:
    assert findings(memory, LINES) == findings(memory, LINES, all_of_it=True) == Findings()


def test_an_acknowledged_order_that_is_not_there_is_a_loss(memory: Memory) -> None:
    assert findings(memory, LINES[1:]) == Findings(lost={"r1 is lost"})


def test_an_order_that_nobody_acknowledged_may_be_missing_until_it_is_sent_again(memory: Memory) -> None:
    assert findings(memory, LINES[:-1]) == Findings()
    assert findings(memory, LINES[:-1], all_of_it=True) == Findings(lost={"r5 is lost"})


@pytest.mark.parametrize("twice", [1, 5])
def test_an_order_that_is_there_twice_is_a_double(memory: Memory, twice: int) -> None:
    again = replace(LINES[twice], position=7, operation_id="bal_7")
    assert len(findings(memory, [*LINES, again]).doubled) == 1


def test_half_a_transfer_is_seen(memory: Memory) -> None:
    for left_out in (2, 3):
        assert len(findings(memory, LINES[:left_out] + LINES[left_out + 1 :]).other) == 1


def test_another_amount_another_account_and_another_operation_are_seen(memory: Memory) -> None:
    for change in ({"balance_change": Decimal(9)}, {"login": 1002}, {"operation_id": "bal_9"}):
        assert len(findings(memory, [replace(LINES[0], **change), *LINES[1:]]).other) == 1


def test_what_nobody_sent_and_a_position_taken_twice_are_seen(memory: Memory) -> None:
    stranger = Line("x", 1001, Decimal(1), NOTHING, "bal_7", 7)
    assert findings(memory, [*LINES, stranger]) == Findings(other={"x was never sent"})
    again = [*LINES[:-1], replace(LINES[-1], position=5)]
    assert findings(memory, again) == Findings(other={"position 5 is taken twice"})


def test_what_was_refused_must_not_be_there_unless_an_attempt_was_left_without_an_answer() -> None:
    memory, call = Memory(), single(withdrawal("w", 1001, Decimal(3)))
    line = Line("w", 1001, Decimal(-3), NOTHING, "bal_1", 1)
    memory.asks(call)
    memory.told(call, answer(400, '{"code":"not_enough_money"}'))
    assert findings(memory, [], all_of_it=True) == Findings()
    assert findings(memory, [line]) == Findings(other={"w was refused, and is booked"})
    memory.left(call)
    assert findings(memory, [line]) == Findings()


def test_a_balance_that_is_not_the_sum_of_its_lines_is_seen() -> None:
    held = {1001: (Decimal(13), Decimal(2)), 1002: (Decimal(8), NOTHING)}
    assert wrong_accounts(held, sums(LINES)) == set()
    assert wrong_accounts(held, sums(LINES[3:], sums(LINES[:3]))) == set()
    assert len(wrong_accounts(held, sums(LINES[1:]))) == 1
    assert len(wrong_accounts({}, sums(LINES))) == 2


class TestAMemory:
    def test_takes_a_repeat_for_an_acknowledgement_only_of_what_may_be_booked(self, memory: Memory) -> None:
        known = answer(409, '{"code":"request_applied","operationId":"bal_6"}')
        memory.told(single(ORDERS[4]), known)
        assert (memory.acknowledged["r5"], memory.repeated, memory.unexpected) == ("bal_6", {"r5"}, [])
        new = single(deposit("r6", 1001, Decimal(1)))
        memory.asks(new)
        memory.told(new, known)
        assert len(memory.unexpected) == 1

    def test_sees_an_order_that_is_booked_anew_or_as_another_operation(self, memory: Memory) -> None:
        call = single(ORDERS[0])
        memory.told(call, answer(201, '{"operationId":"bal_1"}'))
        memory.told(call, answer(409, '{"code":"request_applied","operationId":"bal_9"}'))
        assert len(memory.unexpected) == 2

    def test_waits_for_the_rest_of_a_batch_and_wants_to_be_told_when_to_come_again(self) -> None:
        memory, call = Memory(), batch(ORDERS[:2])
        memory.asks(call)
        booked, away = '{"httpStatus":201,"operationId":"bal_1"}', '{"httpStatus":503,"code":"closing"}'
        assert not memory.told(call, answer(200, f'{{"results":[{booked},{away}]}}'))
        assert (memory.acknowledged, memory.unanswered) == ({"r1": "bal_1"}, {"r2"})
        assert not memory.told(call, answer(503, '{"code":"closing"}', **{"retry-after": "1"}))
        assert memory.unexpected == []
        memory.told(call, answer(503, '{"code":"closing"}'))
        assert len(memory.unexpected) == 1
