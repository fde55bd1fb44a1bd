from __future__ import annotations

from dataclasses import replace
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from landbridge.codegen import plan_memory
from landbridge.codegen.plan_memory import ALIGNMENT, Lifetime, plan_arena
from landbridge.runtime.dims import Size, evaluate

_known = st.integers(0, 5000)
_symbolic = st.builds(
    lambda name, factor, more, nested: ["*", ["+", name, more] if nested else name, factor],
    st.sampled_from(["n", "m"]),
    st.integers(1, 300),
    st.integers(0, 9),
    st.booleans(),
)


def _lifetimes(sizes: st.SearchStrategy[Size]) -> st.SearchStrategy[list[Lifetime]]:
    return st.lists(
        st.builds(lambda size, first, length: Lifetime(size, first, first + length), sizes, st.integers(0, 20), st.integers(0, 8)),
        max_size=30,
    )


def _assert_right(lifetimes: list[Lifetime], dims: dict[str, int]) -> None:
    """Compare all pairs, from the definition."""
    offsets, total = plan_arena(lifetimes)
    places = [(evaluate(offset, dims), evaluate(life.nbytes, dims)) for offset, life in zip(offsets, lifetimes, strict=True)]
    for start, nbytes in places:
        assert start % ALIGNMENT == 0
        assert 0 <= start <= start + nbytes <= evaluate(total, dims)
    for (left, (a, an)), (right, (b, bn)) in combinations(zip(lifetimes, places, strict=True), 2):
        if {*range(left.first, left.last + 1)} & {*range(right.first, right.last + 1)}:
            assert not {*range(a, a + an, ALIGNMENT)} & {*range(b, b + bn, ALIGNMENT)}


@settings(max_examples=60, deadline=None)
@given(_lifetimes(_known))
def test_tensors_of_known_size_that_live_together_do_not_overlap(lifetimes: list[Lifetime]) -> None:
    _assert_right(lifetimes, {})


@settings(max_examples=60, deadline=None)
@given(_lifetimes(st.one_of(_known, _symbolic)), st.integers(0, 40), st.integers(0, 40))
def test_no_value_of_the_dimensions_makes_tensors_overlap(lifetimes: list[Lifetime], n: int, m: int) -> None:
    _assert_right(lifetimes, {"n": n, "m": m})


@settings(max_examples=30, deadline=None)
@given(_lifetimes(_known))
def test_an_arena_is_never_larger_than_everything_side_by_side(lifetimes: list[Lifetime]) -> None:
    _, total = plan_arena(lifetimes)
    assert total <= sum(-(-life.nbytes // ALIGNMENT) * ALIGNMENT for life in lifetimes)


def test_another_order_is_found_where_the_largest_first_leaves_a_gap() -> None:
    lifetimes = [Lifetime(512, 0, 3), Lifetime(320, 3, 5), Lifetime(640, 5, 8), Lifetime(192, 0, 3)]
    assert plan_arena(lifetimes)[1] == 512 + 320 + 192  # what lives at moment 3; the largest first takes 128 more


@settings(max_examples=60, deadline=None)
@given(_lifetimes(_known), st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=30, max_size=30))
def test_who_meets_whom_is_found_as_it_is_defined(lifetimes: list[Lifetime], steps: list[tuple[int, int]]) -> None:
    lifetimes = [replace(life, users=users, ended=ended) for life, (users, ended) in zip(lifetimes, steps, strict=False)]
    for index, (life, neighbours) in enumerate(zip(lifetimes, plan_memory._neighbours(lifetimes), strict=True)):
        assert sorted(neighbours) == [other for other, one in enumerate(lifetimes) if other != index and life.meets(one)]


def test_a_chain_needs_two_places() -> None:
    chain = [Lifetime(1000, moment, moment + 1) for moment in range(10)]
    assert plan_arena(chain)[1] == 2 * 1024


def test_a_chain_over_a_named_dimension_needs_two_places() -> None:
    chain = [Lifetime(["*", "n", 128], moment, moment + 1) for moment in range(10)]
    assert plan_arena(chain)[1] == ["*", "n", 256]


def test_a_small_tensor_goes_into_the_smallest_gap_that_takes_it() -> None:
    lifetimes = [
        Lifetime(512, 0, 9),
        Lifetime(256, 0, 1),
        Lifetime(192, 0, 9),
        Lifetime(128, 0, 1),
        Lifetime(120, 0, 9),
        Lifetime(100, 5, 6),
    ]
    offsets, total = plan_arena(lifetimes)
    assert offsets[5] == offsets[3]  # 128 bytes, not the 256 before it
    assert total == 512 + 256 + 192 + 128 + 128


def test_the_size_of_many_slots_is_not_deep() -> None:
    lifetimes = [Lifetime(["*", ["+", "n", i], 4], 0, 1) for i in range(200)]
    assert _depth(plan_arena(lifetimes)[1]) < 20


def _depth(size: Size) -> int:
    return 0 if isinstance(size, int | str) else 1 + max(_depth(size[1]), _depth(size[2]))


def test_tensors_of_steps_that_may_run_together_have_places_of_their_own() -> None:
    first, second = Lifetime(64, 0, 1, users=0b0011, ended=0b0001), Lifetime(64, 2, 3, users=0b1100, ended=0b0100)
    assert plan_arena([first, second])[1] == 128
    waits = Lifetime(64, 2, 3, users=0b1100, ended=0b0111)
    assert plan_arena([first, waits])[1] == 64
