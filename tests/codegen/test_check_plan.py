from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from landbridge.codegen.check_contents import Access
from landbridge.codegen.check_plan import check_plan
from landbridge.runtime.errors import PlanError
from landbridge.runtime.plan import Buffer, Copy, Extern, Interface, Plan, Segment
from support.placed_programs import signature

ROW = 64  # bytes of a row of 16 float32


def _buffer(name: str, offset: Any, device: str = "cpu", rows: Any = "n", **more: Any) -> Buffer:
    nbytes = more.pop("nbytes", ["*", rows, ROW])
    return Buffer(name, device, "float32", (rows, 16), more.pop("storage", "arena"), nbytes, offset, **more)


BUFFERS = (
    _buffer("x", 0, storage="input"),
    _buffer("a", 0),
    _buffer("b", ["*", "n", ROW]),
    _buffer("b", 0, "atlas0", nbytes=["*", ["+", "n", 3], ROW]),
    _buffer("c", ["*", ["+", "n", 3], ROW], "atlas0", nbytes=["*", ["+", "n", 3], ROW]),
    _buffer("c", 0),
)
SEGMENT = Segment("lb_segment_0", (0, 1, 2), ("n",), (1, 2), ("a", "b"), ())
STEPS = (SEGMENT, Copy(2, 3, (0,)), Extern("m", "atlas0", (3,), (4,), (1,)), Copy(4, 5, (2,)))
ACCESSES = (
    (Access((0,), (1,)), Access((1,), (2,))),
    (Access((2,), (3,)),),
    (Access((3,), (4,)),),
    (Access((4,), (5,)),),
)
PLAN = Plan(
    ("n",),
    BUFFERS,
    STEPS,
    (Interface("x", 0),),
    (Interface("y", 5),),
    {"cpu": ["*", "n", 2 * ROW], "atlas0": ["*", ["+", "n", 3], 2 * ROW]},
)
SIGNATURES = {"m": signature([("batch", 16)], [("batch", 16)], gears=(1, 4))}


def _with_buffer(index: int, **changes: Any) -> Plan:
    buffers = list(PLAN.buffers)
    buffers[index] = replace(buffers[index], **changes)
    return replace(PLAN, buffers=tuple(buffers))


def _with_step(index: int, **changes: Any) -> Plan:
    steps: list[Any] = list(PLAN.steps)
    steps[index] = replace(steps[index], **changes)
    return replace(PLAN, steps=tuple(steps))


def _problem(plan: Plan, accesses: Any = ACCESSES) -> str:
    with pytest.raises(PlanError) as caught:
        check_plan(plan, accesses, SIGNATURES)
    return str(caught.value)


def test_a_right_plan_passes() -> None:
    check_plan(PLAN, ACCESSES, SIGNATURES)


def test_two_tensors_of_one_segment_that_share_memory_are_found() -> None:
    assert "buffer 1 ('a') and buffer 2 ('b') share memory on cpu while both are needed" in _problem(_with_buffer(2, offset=0))


def test_memory_may_be_used_again_when_it_is_not_needed_any_more() -> None:
    check_plan(_with_buffer(5, offset=["*", "n", ROW]), ACCESSES, SIGNATURES)


def test_an_overlap_at_large_extents_only_is_found() -> None:
    plan = replace(_with_buffer(2, offset=10 * ROW), arenas={**PLAN.arenas, "cpu": ["+", 10 * ROW, ["*", "n", ROW]]})
    assert "buffer 1 ('a') and buffer 2 ('b') share memory on cpu" in _problem(plan)


def test_extents_that_the_program_cannot_have_are_not_tried() -> None:
    small = Buffer("small", "cpu", "float32", (["-", "n", 5],), "input", ["*", ["-", "n", 5], 4])
    check_plan(replace(PLAN, buffers=(*PLAN.buffers, small)), ACCESSES, SIGNATURES)


def test_an_output_must_be_left_alone_to_the_end() -> None:
    plan = replace(PLAN, outputs=(*PLAN.outputs, Interface("a", 1)))
    assert "buffer 1 ('a') and buffer 5 ('c') share memory" in _problem(plan)


def test_an_alias_keeps_its_memory_alive() -> None:
    seen = Buffer("seen", "cpu", "float32", (16, "n"), "alias", ["*", "n", ROW], base=1)
    plan = replace(PLAN, buffers=(*PLAN.buffers, seen), outputs=(*PLAN.outputs, Interface("seen", 6)))
    assert "buffer 1 ('a') and buffer 5 ('c') share memory" in _problem(plan)


def _parts(between: int) -> tuple[Plan, Any]:
    """Return a plan in which a tensor is written at byte ``between`` before the left part of a whole, and after its right one."""
    buffers = (
        _buffer("whole", 0, rows=2, nbytes=2 * ROW),
        _buffer("left", 0, rows=1, nbytes=ROW, storage="alias", base=0),
        _buffer("right", ROW, rows=1, nbytes=ROW, storage="alias", base=0),
        _buffer("between", between, rows=1, nbytes=ROW),
    )
    segment = Segment("lb_segment_0", (2, 3, 1), (), (2, 3, 1), ("a",), ())
    plan = Plan((), buffers, (segment,), (), (Interface("y", 0),), {"cpu": 3 * ROW})
    return plan, ((Access((), (2,)), Access((), (3,)), Access((3,), (1,))),)


def test_a_part_that_is_not_written_yet_leaves_its_memory_to_others() -> None:
    plan, accesses = _parts(2 * ROW)
    check_plan(plan, accesses, {})
    accesses = ((*accesses[0][:2], Access((3,), ()), Access((), (1,))),)
    check_plan(_parts(0)[0], accesses, {})


def test_a_part_that_is_written_already_shares_its_memory_with_nobody() -> None:
    for between in (0, ROW):  # read while the left part is written; over the right part
        assert "buffer 0 ('whole') and buffer 3 ('between') share memory on cpu while both are needed" in _problem(*_parts(between))


def test_a_copy_made_once_keeps_its_memory_for_ever() -> None:
    plan = replace(
        PLAN,
        buffers=(*PLAN.buffers, _buffer("k", 0, storage="constant", section="const/0"), _buffer("k", 0, "atlas0")),
        steps=(*PLAN.steps, Copy(6, 7, (), once=True)),
    )
    assert "buffer 3 ('b') and buffer 7 ('k') share memory on atlas0" in _problem(plan, (*ACCESSES, (Access((6,), (7,)),)))


def test_slack_of_gears_counts() -> None:
    text = _problem(_with_buffer(3, nbytes=["*", "n", ROW]))
    assert "buffer 3 ('b') has no room for the largest gear of m: expected 256 bytes" in text


def test_a_buffer_behind_its_arena_is_found() -> None:
    assert "buffer 2 ('b') ends behind the arena of cpu" in _problem(replace(PLAN, arenas={**PLAN.arenas, "cpu": ["*", "n", ROW]}))


def test_an_alias_behind_its_base_is_found() -> None:
    alias = Buffer("seen", "cpu", "float32", ("n", 32), "alias", ["*", "n", 2 * ROW], base=1)
    assert "buffer 6 ('seen') ends behind what it is an alias of" in _problem(replace(PLAN, buffers=(*PLAN.buffers, alias)))


def test_a_place_that_is_not_aligned_is_found() -> None:
    assert "buffer 5 ('c') is at byte 32, expected a multiple of 64" in _problem(_with_buffer(5, offset=32))


def test_a_buffer_smaller_than_its_tensor_is_found() -> None:
    assert "buffer 1 ('a') has 63 bytes, fewer than its tensor" in _problem(_with_buffer(1, nbytes=["-", ["*", "n", ROW], 1]))


def test_a_missing_dependence_is_found() -> None:
    assert "step 1 reads buffer 2 ('b') but does not wait for step 0" in _problem(_with_step(1, after=()))


def test_waiting_for_a_later_step_is_found() -> None:
    assert "step 1 waits for (0, 2), expected earlier steps" in _problem(_with_step(1, after=(0, 2)))


def test_reading_before_writing_is_found() -> None:
    accesses = ((Access((1,), (2,)), Access((0,), (1,))), *ACCESSES[1:])
    assert "step 0 reads buffer 1 ('a') before anything is in it" in _problem(PLAN, accesses)


def test_writing_an_input_is_found() -> None:
    plan = _with_step(0, writes=(0, 1, 2))
    accesses = ((Access((0,), (1,)), Access((1,), (2, 0))), *ACCESSES[1:])
    assert "step 0 writes buffer 0 ('x'), which is input" in _problem(plan, accesses)


def test_an_output_that_nobody_writes_is_found() -> None:
    plan = replace(PLAN, steps=PLAN.steps[:-1])
    assert "output 'y' is never written" in _problem(plan, ACCESSES[:-1])


def test_a_segment_that_names_other_buffers_is_found() -> None:
    assert "step 0 (lb_segment_0) names other buffers than its kernels use" in _problem(_with_step(0, buffers=(0, 1)))


def test_a_model_that_touches_another_device_is_found() -> None:
    assert "step 2 (m) on atlas1 touches memory of another device" in _problem(_with_step(2, device="atlas1"))


def test_a_copy_between_unequal_tensors_is_found() -> None:
    assert "step 1 copies buffer 2 ('b') to a tensor of another type" in _problem(_with_buffer(3, dtype="int32"))


def test_everything_that_is_wrong_is_reported() -> None:
    text = _problem(replace(_with_step(1, after=()), outputs=(Interface("y", 5), Interface("z", 1))))
    assert "does not wait" in text
    assert "share memory" in text
