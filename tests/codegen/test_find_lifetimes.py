from __future__ import annotations

from typing import Any

from landbridge.codegen.check_contents import Access
from landbridge.codegen.find_lifetimes import find_lifetimes
from landbridge.codegen.plan_memory import Lifetime
from landbridge.runtime.plan import Buffer, Copy, Extern, Segment


def _buffer(rows: Any, base: int = -1, offset: Any = 0, device: str = "cpu") -> Buffer:
    storage: Any = "arena" if base < 0 else "alias"
    return Buffer("b", device, "float32", (rows, 16), storage, ["*", rows, 64] if isinstance(rows, str) else rows * 64, offset, base)


def _segment(*after: int) -> Segment:
    return Segment("s", (), (), (), (), after)


WHOLE, LEFT, RIGHT = _buffer(3), _buffer(1, 0), _buffer(2, 0, 64)
WRITES = (Access((), (2,)), Access((2,), (1,)), Access((0,), ()))


def test_each_part_lives_from_when_it_is_written() -> None:
    found = find_lifetimes([WHOLE, LEFT, RIGHT], [_segment()], [WRITES], ())
    assert found == {0: {1: Lifetime(64, 1, 2, 1, 1), 2: Lifetime(128, 0, 2, 1, 1, 64)}}


def test_an_output_that_is_a_part_lives_to_the_end_and_the_others_do_not() -> None:
    (parts,) = find_lifetimes([WHOLE, LEFT, RIGHT], [_segment()], [WRITES], {1}).values()
    assert (parts[1].last, parts[2].last) == (3, 2)


def test_parts_of_parts_are_told_of_one_by_one() -> None:
    buffers = [_buffer(3), _buffer(2, 0), _buffer(1, 1), _buffer(1, 1, 64), _buffer(1, 0, 128)]
    accesses = (Access((), (2,)), Access((), (3,)), Access((1,), (4,)), Access((0,), ()))
    (parts,) = find_lifetimes(buffers, [_segment()], [accesses], ()).values()
    assert {part: (life.offset, life.first, life.last) for part, life in parts.items()} == {2: (0, 0, 3), 3: (64, 1, 3), 4: (128, 2, 3)}


def test_a_view_of_all_and_a_tensor_written_over_another_are_no_parts() -> None:
    buffers = [_buffer(3), _buffer(3, 0)]
    accesses = (Access((), (0,)), Access((0,), (1,), ((0, 1),)), Access((1,), ()))
    assert find_lifetimes(buffers, [_segment()], [accesses], ()) == {0: {0: Lifetime(192, 0, 2, 1, 1)}}


def test_parts_that_leave_something_out_are_told_of_as_one() -> None:
    for right in (_buffer(1, 0, 64), _buffer(1, 0, 128)):  # nothing is in the end, or in the middle
        (parts,) = find_lifetimes([WHOLE, LEFT, right], [_segment()], [WRITES[:2]], ()).values()
        assert parts == {0: Lifetime(192, 0, 1, 1, 1)}


def test_parts_of_unknown_size_are_told_of_as_one() -> None:
    for buffers in ([_buffer("n"), _buffer(1, 0), _buffer("n", 0, 64)], [WHOLE, LEFT, _buffer(2, 0, ["*", "n", 64])]):
        (parts,) = find_lifetimes(buffers, [_segment()], [WRITES], ()).values()
        assert parts == {0: Lifetime(buffers[0].nbytes, 0, 2, 1, 1)}


def test_each_part_has_its_own_steps() -> None:
    there = _buffer(2, device="atlas0")
    steps = (_segment(), Extern("m", "atlas0", (3,), (3,), ()), _segment(0), _segment(0, 2))
    accesses = ((Access((), (2,)),), (Access((), (3,)),), (Access((), (1,)),), (Access((0,), ()),))
    found = find_lifetimes([WHOLE, LEFT, RIGHT, there], steps, accesses, ())
    assert found[0] == {1: Lifetime(64, 2, 3, 0b1100, 0b0101), 2: Lifetime(128, 0, 3, 0b1001, 0b0001, 64)}
    assert found[3] == {3: Lifetime(128, 1, 1, 0b0010, 0b0010)}


def test_a_copy_made_once_lives_for_ever() -> None:
    buffers = [Buffer("k", "cpu", "float32", (1, 16), "constant", 64, section="const/0"), _buffer(1, device="atlas0")]
    steps = (_segment(), Copy(0, 1, (), once=True), _segment(0))
    found = find_lifetimes(buffers, steps, ((Access((), ()),), (Access((0,), (1,)),), (Access((), ()),)), ())
    assert (found[1][1].first, found[1][1].last) == (0, 3)
