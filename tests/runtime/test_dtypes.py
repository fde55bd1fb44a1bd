from __future__ import annotations

import doctest

import ml_dtypes
import numpy as np
import pytest

from landbridge.runtime import dtypes


@pytest.mark.parametrize("name", dtypes.BITS)
def test_sizes_are_those_of_numpy_and_ml_dtypes(name: str) -> None:
    known = np.dtype(name) if hasattr(np, name) or name == "bool" else np.dtype(getattr(ml_dtypes, name))
    assert dtypes.is_dtype(name)
    assert dtypes.is_packed(name) == (dtypes.BITS[name] < 8)
    if not dtypes.is_packed(name):
        assert known.itemsize * 8 == dtypes.BITS[name]
        assert dtypes.holder(name).itemsize == known.itemsize
        assert dtypes.nbytes_of(name, (3, 5)) == 15 * known.itemsize


def test_numpys_own_types_are_held_in_themselves() -> None:
    for name in ("bool", "int8", "uint64", "float16", "complex128"):
        assert dtypes.holder(name) == np.dtype(name)


def test_packed_tensors_end_on_a_whole_byte() -> None:
    assert [dtypes.nbytes_of("int4", (extent,)) for extent in range(5)] == [0, 1, 1, 2, 2]


def test_unknown_names() -> None:
    assert not dtypes.is_dtype("float31")
    assert not dtypes.is_dtype("object")


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(dtypes).failed == 0
