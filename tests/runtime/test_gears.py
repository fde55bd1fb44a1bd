from __future__ import annotations

from itertools import combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.runtime.errors import InputError
from landbridge.runtime.gears import MAX_BATCH, nearest_batches, split_batch


def brute_force(batch: int, gears: list[int]) -> tuple[int, ...] | None:
    """Return the best split by trying them all: the first length that has one, its largest pieces first."""
    for count in range(1, batch // min(gears) + 1):
        splits = [pieces for pieces in combinations_with_replacement(sorted(gears, reverse=True), count) if sum(pieces) == batch]
        if splits:
            return max(splits)
    return None


GEARS = st.lists(st.integers(2, 9), min_size=1, max_size=4, unique=True)


@given(st.integers(1, 18), GEARS)
def test_a_split_is_the_best_of_all_splits(batch: int, gears: list[int]) -> None:
    expected = brute_force(batch, gears)
    if expected is None:
        with pytest.raises(InputError):
            split_batch(batch, gears)
    else:
        assert split_batch(batch, gears) == expected


@given(st.integers(1, 18), GEARS)
def test_the_nearest_batches_are_reachable_and_none_lies_between(batch: int, gears: list[int]) -> None:
    below, above = nearest_batches(batch, gears)
    assert above is not None
    assert brute_force(above, gears) is not None
    assert all(brute_force(n, gears) is None for n in range(batch + 1, above))
    assert all(brute_force(n, gears) is None for n in range((below or 0) + 1, batch))
    assert below is None or brute_force(below, gears) is not None


@pytest.mark.parametrize(
    ("batch", "gears", "pieces"),
    [
        (1, (1, 2, 4, 8), (1,)),
        (6, (1, 2, 4, 8), (4, 2)),
        (20, (1, 2, 4, 8), (8, 8, 4)),
        (8, (6, 4), (4, 4)),
        (14, (6, 4), (6, 4, 4)),
        (6, (1, 3, 4), (3, 3)),
        (5, (5, 5), (5,)),
    ],
)
def test_known_splits(batch: int, gears: tuple[int, ...], pieces: tuple[int, ...]) -> None:
    assert split_batch(batch, gears) == pieces


def test_an_unreachable_batch_names_the_gears_and_the_nearest_batches() -> None:
    with pytest.raises(InputError) as caught:
        split_batch(7, (6, 4), at="input 'image'")
    assert str(caught.value) == (
        "input 'image': batch 7 is not a sum of the batches that this model was compiled for (4, 6)\n"
        "  hint: feed a batch of 6 or 8, or compile the model with other gears"
    )


def test_below_the_smallest_gear_only_the_batch_above_is_named() -> None:
    with pytest.raises(InputError) as caught:
        split_batch(1, (2, 4))
    assert str(caught.value) == (
        "batch 1 is not a sum of the batches that this model was compiled for (2, 4)\n"
        "  hint: feed a batch of 2, or compile the model with other gears"
    )


def test_a_batch_out_of_range_is_refused_without_a_table_of_that_size() -> None:
    with pytest.raises(InputError, match=rf"batch 0, expected 1 to {MAX_BATCH}\n  hint: feed a batch of 1, or"):
        split_batch(0, (1, 2))
    with pytest.raises(InputError, match=rf"batch {1 << 40}, expected 1 to {MAX_BATCH}\n  hint: feed batches of 2"):
        split_batch(1 << 40, (1, 2))
    with pytest.raises(InputError, match="compile the model with other gears"):
        split_batch(3, ())
