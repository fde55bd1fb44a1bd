from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from landbridge.codegen.check_contents import Access
from landbridge.codegen.check_plan import check_plan
from landbridge.runtime.errors import PlanError
from landbridge.runtime.plan import Buffer, Interface, Plan, Segment


def _buffer(name: str, rows: int, **more: Any) -> Buffer:
    return Buffer(name, "cpu", "float32", (rows, 16), more.pop("storage", "arena"), rows * 64, **more)


X = _buffer("x", 3, storage="input")
WHOLE = _buffer("whole", 3)
FIRST = _buffer("first", 1, storage="alias", base=1)
SECOND = _buffer("second", 2, storage="alias", base=1, offset=64)
OVER = _buffer("over", 2, storage="alias", base=5)
PLACE = _buffer("place", 2, offset=192)
ACCESSES = (Access((0,), (2,)), Access((0,), (5,)), Access((5, 2), (4,), ((5, 4),)), Access((4,), (3,)), Access((1,), (6,)))
PLAN = Plan(
    (),
    (X, WHOLE, FIRST, SECOND, OVER, PLACE, _buffer("y", 3, offset=384)),
    (Segment("s", (0, 1, 2, 3, 4, 5, 6), (), (2, 5, 4, 3, 6), (), ()),),
    (Interface("x", 0),),
    (Interface("y", 6),),
    {"cpu": 576},
)


def _problem(plan: Plan = PLAN, accesses: Any = ACCESSES) -> str:
    with pytest.raises(PlanError) as caught:
        check_plan(plan, [accesses], {})
    return str(caught.value)


def _with(index: int, **changes: Any) -> Plan:
    buffers = list(PLAN.buffers)
    buffers[index] = replace(buffers[index], **changes)
    return replace(PLAN, buffers=tuple(buffers))


def test_parts_of_a_whole_and_what_is_written_over_pass() -> None:
    check_plan(PLAN, [ACCESSES], {})


def test_parts_that_overlap_are_found() -> None:
    assert "buffer 1 ('whole') is read where" not in _problem(_with(3, offset=0))
    assert "buffer 1 ('whole') is read before all of it was written" in _problem(_with(3, offset=0))


def test_a_part_that_is_missing_is_found() -> None:
    accesses = (*ACCESSES[:3], Access((4,), ()), *ACCESSES[4:])
    assert "buffer 1 ('whole') is read before all of it was written" in _problem(accesses=accesses)


def test_what_was_written_over_is_not_read_again() -> None:
    accesses = (*ACCESSES[:3], Access((5,), (3,)), ACCESSES[4])
    assert "buffer 5 ('place') is read where buffer 4 ('over') was written" in _problem(accesses=accesses)


def test_writing_over_what_is_read_must_be_said() -> None:
    accesses = (*ACCESSES[:2], Access((5, 2), (4,)), *ACCESSES[3:])
    assert "buffer 4 ('over') is written over buffer 5 ('place') while that is read" in _problem(accesses=accesses)


def test_what_lies_over_an_operand_begins_where_it_does() -> None:
    plan = replace(_with(4, offset=64), arenas={"cpu": 640})
    plan = replace(plan, buffers=(*plan.buffers[:5], replace(PLACE, nbytes=192), replace(plan.buffers[6], offset=448)))
    assert "buffer 4 ('over') is written over buffer 5 ('place') while that is read" in _problem(plan)


def test_random_reads_agree_with_a_byte_by_byte_memory() -> None:
    """The definition, executed: every byte of the memory has the name of the buffer that it was written as."""
    chance = random.Random(5)
    outcomes = set()
    for _ in range(300):
        spans = [(start, start + chance.randint(1, 3)) for start in (chance.randint(0, 3) for _ in range(3))]
        buffers = [_buffer("x", 1, storage="input"), _buffer("memory", 6), _buffer("y", 1, offset=384)]
        buffers += [_buffer(f"b{i}", end - start, storage="alias", base=1, offset=64 * start) for i, (start, end) in enumerate(spans)]
        written = chance.sample(range(3), 3)
        read = chance.randrange(3)
        accesses = [Access((0,), (3 + i,)) for i in written] + [Access((3 + read,), (2,))]
        rows: dict[int, int] = {}
        for i in written:
            rows.update(dict.fromkeys(range(*spans[i]), i))
        right = all(rows[row] == read for row in range(*spans[read]))
        segment = Segment("s", (0, 2, 3, 4, 5), (), tuple(w for access in accesses for w in access.writes), (), ())
        plan = Plan((), tuple(buffers), (segment,), (Interface("x", 0),), (Interface("y", 2),), {"cpu": 448})
        if right:
            check_plan(plan, [accesses], {})
        else:
            assert "is read where" in _problem(plan, accesses)
        outcomes.add(right)
    assert outcomes == {True, False}
