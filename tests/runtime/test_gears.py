from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, combinations_with_replacement, count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.runtime.errors import InputError, UsageError
from landbridge.runtime.gears import (
    MAX_BATCH,
    GearPlan,
    Spread,
    check_size,
    gear_names,
    nearest_batches,
    plan_gears,
    reserved_nbytes,
    slack_rows,
    spread_of,
)
from landbridge.runtime.signature import Gears, Port, Signature

MOST = 64
"""The largest batch that is compared with all there are."""


def brute_force(batch: int, gears: list[int], spread: Spread) -> tuple[int, ...] | None:
    """Return the best plan by trying them all: the fewest pieces that do, of these the smallest sum, of these the largest first."""
    for length in range(1, 2 if spread == "pad" else batch // min(gears) + 2):
        plans = [pieces for pieces in combinations_with_replacement(sorted(gears, reverse=True), length) if sum(pieces) >= batch]
        if spread == "exact":
            plans = [pieces for pieces in plans if sum(pieces) == batch]
        if plans:
            return max(plans, key=lambda pieces: (-sum(pieces), pieces))
    return None


def enumerated(gears: tuple[int, ...]) -> Iterator[tuple[Spread, int, tuple[int, int] | None]]:
    """Yield for each spread and each batch up to `MOST` the launches and the padded rows of the best plan, None where there is none.

    The sums of exactly k gears are the bits of a number, for k = 1, 2, …; nothing here is a table of batches.
    """
    sums = [1]
    for _ in range(-(-MOST // min(gears))):
        sums.append(0)
        for gear in gears:
            sums[-1] |= sums[-2] << gear
    for batch in range(1, MOST + 1):
        yield "exact", batch, next(((k, 0) for k, found in enumerate(sums) if found >> batch & 1), None)
        for spread, most in (("pad", 1), ("split+pad", MOST)):
            k = next((k for k, found in enumerate(sums[: most + 1]) if found >> batch), None)
            rest = 0 if k is None else sums[k] >> batch
            yield spread, batch, None if k is None else (k, (rest & -rest).bit_length() - 1)  # type: ignore[misc]  # a literal


def check_against_enumeration(gears: tuple[int, ...]) -> None:
    for spread, batch, expected in enumerated(gears):
        try:
            plan = plan_gears(batch, gears, spread)
        except InputError:
            assert expected is None, (gears, batch, spread)
            continue
        assert (len(plan.pieces), plan.padded) == expected, (gears, batch, spread)
        assert set(plan.pieces) <= set(gears)
        assert list(plan.pieces) == sorted(plan.pieces, reverse=True)
        assert 0 <= plan.padded < plan.pieces[-1]


def gear_sets() -> Iterator[tuple[int, ...]]:
    for size in range(1, 6):
        yield from combinations(range(1, 17), size)


def test_plans_are_the_best_of_many_sets_of_gears() -> None:
    for number, gears in zip(count(), gear_sets(), strict=False):
        if number % 41 == 0:
            check_against_enumeration(gears)


@pytest.mark.long
def test_plans_are_the_best_of_every_set_of_five_gears() -> None:
    for gears in gear_sets():
        check_against_enumeration(gears)


GEARS = st.lists(st.integers(2, 9), min_size=1, max_size=4, unique=True)
SPREADS = st.sampled_from(["exact", "pad", "split+pad"])


@given(st.integers(1, 18), GEARS, SPREADS)
def test_a_plan_is_the_best_of_all_plans(batch: int, gears: list[int], spread: Spread) -> None:
    expected = brute_force(batch, gears, spread)
    if expected is None:
        with pytest.raises(InputError):
            plan_gears(batch, gears, spread)
    else:
        assert plan_gears(batch, gears, spread).pieces == expected


@given(st.integers(1, 18), GEARS, SPREADS)
def test_the_nearest_batches_are_reachable_and_none_lies_between(batch: int, gears: list[int], spread: Spread) -> None:
    below, above = nearest_batches(batch, gears, spread)
    assert below is None or brute_force(below, gears, spread) is not None
    assert all(brute_force(n, gears, spread) is None for n in range((below or 0) + 1, batch))
    if spread == "pad" and batch >= max(gears):
        assert above is None
        return
    assert above is not None
    assert brute_force(above, gears, spread) is not None
    assert all(brute_force(n, gears, spread) is None for n in range(batch + 1, above))


@pytest.mark.parametrize(
    ("batch", "gears", "spread", "text"),
    [
        (1, (1, 2, 4, 8), "exact", "1 -> 1, nothing padded"),
        (6, (1, 2, 4, 8), "exact", "6 -> 4+2, nothing padded"),
        (20, (1, 2, 4, 8), "exact", "20 -> 8+8+4, nothing padded"),
        (20, (1, 2, 4, 8), "split+pad", "20 -> 8+8+4, nothing padded"),
        (8, (6, 4), "exact", "8 -> 4+4, nothing padded"),
        (14, (6, 4), "exact", "14 -> 6+4+4, nothing padded"),
        (5, (5, 5), "exact", "5 -> 5, nothing padded"),
        (3, (1, 2, 4, 8), "exact", "3 -> 2+1, nothing padded"),
        (3, (1, 2, 4, 8), "split+pad", "3 -> 4, 1 row padded"),
        (3, (1, 2, 4, 8), "pad", "3 -> 4, 1 row padded"),
        (5, (8, 16), "pad", "5 -> 8, 3 rows padded"),
        (9, (4, 7), "split+pad", "9 -> 7+4, 2 rows padded"),
    ],
)
def test_known_plans(batch: int, gears: tuple[int, ...], spread: Spread, text: str) -> None:
    assert plan_gears(batch, gears, spread).text == text


def test_an_unreachable_batch_names_the_gears_and_the_nearest_batches() -> None:
    with pytest.raises(InputError) as caught:
        plan_gears(7, (6, 4), at="input 'image'")
    assert str(caught.value) == (
        "input 'image': batch 7 is not a sum of the batches that this model was compiled for (4, 6)\n"
        "  hint: feed a batch of 6 or 8, or allow padding with the option gears=split+pad, or compile the model with other gears"
    )


def test_below_the_smallest_gear_only_the_batch_above_is_named() -> None:
    with pytest.raises(InputError) as caught:
        plan_gears(1, (2, 4))
    assert str(caught.value) == (
        "batch 1 is not a sum of the batches that this model was compiled for (2, 4)\n"
        "  hint: feed a batch of 2, or allow padding with the option gears=split+pad, or compile the model with other gears"
    )


def test_one_padded_launch_ends_at_the_largest_gear() -> None:
    with pytest.raises(InputError) as caught:
        plan_gears(9, (4, 8), "pad")
    assert str(caught.value) == (
        "batch 9 is larger than every batch that this model was compiled for (4, 8)\n"
        "  hint: feed a batch of 8, or allow padding with the option gears=split+pad, or compile the model with other gears"
    )


def test_a_batch_out_of_range_is_refused_without_a_table_of_that_size() -> None:
    with pytest.raises(InputError, match=rf"batch 0, expected 1 to {MAX_BATCH}\n  hint: feed a batch of 1, or"):
        plan_gears(0, (1, 2))
    with pytest.raises(InputError, match=rf"batch {1 << 40}, expected 1 to {MAX_BATCH}\n  hint: feed batches of 2"):
        plan_gears(1 << 40, (1, 2))
    for spread in ("exact", "pad", "split+pad"):
        with pytest.raises(InputError, match="compile the model with other gears"):
            plan_gears(3, (), spread)


@pytest.mark.parametrize("spread", ["exact", "pad", "split+pad"])
def test_slack_is_what_the_last_launch_may_touch_beyond_the_batch(spread: Spread) -> None:
    for gears in ((3,), (1, 8), (4, 6, 16)):
        plans = [plan_gears(n, gears, spread) for n in range(1, 40) if _reaches(n, gears, spread)]
        beyond = max(sum(plan.pieces[:-1]) + max(gears) - plan.batch for plan in plans)
        assert slack_rows(gears, spread) == beyond
    assert slack_rows((), spread) == 0


def _reaches(batch: int, gears: tuple[int, ...], spread: Spread) -> bool:
    return brute_force(batch, list(gears), spread) is not None


def test_the_option_is_one_of_three() -> None:
    assert [spread_of(options) for options in ({}, {"gears": "pad"}, {"other": "x"})] == ["exact", "pad", "exact"]
    with pytest.raises(UsageError) as caught:
        spread_of({"gears": "split-pad"})
    assert str(caught.value) == ("option gears is 'split-pad', expected one of exact, pad, split+pad\n  hint: did you mean 'split+pad'?")


def test_rows_are_counted_in_words() -> None:
    assert [GearPlan(batch, (4,)).text for batch in (4, 3, 2)] == [
        "4 -> 4, nothing padded",
        "3 -> 4, 1 row padded",
        "2 -> 4, 2 rows padded",
    ]


def sized(
    kind: str, *shapes: tuple[int | str, ...], choices: tuple[tuple[int, ...], ...], outputs: tuple[int | str, ...] = ()
) -> Signature:
    ports = tuple(Port(f"in{index}", "float16", shape) for index, shape in enumerate(shapes))
    return Signature(ports, (Port("out", "float32", outputs),), Gears(kind, choices))


@pytest.mark.parametrize(
    ("signature", "names"),
    [
        (Signature((), ()), ()),
        (sized("batch", ("batch", 3), choices=((1,), (2,))), ("batch",)),
        (sized("image", (1, "width", "height"), choices=((1, 2),)), ("height", "width")),
        (sized("dims", ("dim1", 3), ("dim0", 3), choices=((1, 2),)), ("dim0", "dim1")),
        (sized("dims", ("rows", "inner"), ("inner", 3), choices=((1, 2),)), ("rows", "inner")),
        (sized("dims", ("b", "s"), ("b", "s"), choices=((1, 64, 1, 64),)), ("b", "s", "b", "s")),
    ],
)
def test_the_dimensions_that_a_gear_is_of(signature: Signature, names: tuple[str, ...]) -> None:
    assert gear_names(signature) == names


def test_a_size_that_is_no_gear_is_refused_with_the_two_nearest() -> None:
    gears = Gears("image", ((8, 8), (16, 12), (32, 24), (12, 16)))
    check_size(gears, (32, 24))
    with pytest.raises(InputError) as caught:
        check_size(gears, (14, 14), at="input 'x'")
    assert str(caught.value) == (
        "input 'x': size 14x14 is none of those that this model was compiled for (8x8, 16x12, 32x24, 12x16)\n"
        "  hint: resize to 12x16 or 16x12, or compile the model with other sizes"
    )


def test_memory_is_reserved_for_the_gear_in_which_each_port_is_largest() -> None:
    choices = ((1, 16, 4), (3, 8, 16), (2, 32, 1))
    signature = sized("dims", ("dim0", "dim1"), (5, "dim2"), choices=choices, outputs=("dim0", "dim2"))
    assert reserved_nbytes(signature) == (2 * 64, 2 * 5 * 16, 4 * 48)
    half = Signature(signature.inputs, (Port("out", "float32", ("out_dim0",)),), Gears("dims", choices, (((7,),), ((9,),), ((8,),))))
    assert reserved_nbytes(half)[2] == 4 * 9
    assert reserved_nbytes(sized("batch", ("batch", 3), choices=((1,), (2,)), outputs=("batch",))) == (0, 0)
