"""Compare a tensor with what it should be, for one who looks for the cause of a difference: how much, where first, what kind."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime import dtypes
from landbridge.runtime.records import dataclass

Array = NDArray[Any]


@dataclass(frozen=True)
class Tolerance:
    """How far a value may be off: ``|found - expected| <= atol + rtol * |expected| + scaled * max|expected|``.

    Attributes:
        rtol: as a share of the element itself.
        atol: whatever the element is.
        scaled: as a share of the tensor's largest element: rounding in a sum is as large as its terms, not as its result.
    """

    rtol: float = 0.0
    atol: float = 0.0
    scaled: float = 0.0

    def __str__(self) -> str:
        """Return it in the terms of its definition."""
        terms = [(self.atol, ""), (self.rtol, " of the element"), (self.scaled, " of the largest")]
        return " + ".join(f"{share:.0e}{of}" for share, of in terms if share) or "exact"


TOLERANCES: dict[str, Tolerance] = {
    "float64": Tolerance(1e-7, 0, 1e-9),
    "float32": Tolerance(1e-3, 0, 1e-5),
    "float16": Tolerance(1e-2, 0, 5e-3),
    "bfloat16": Tolerance(5e-2, 0, 3e-2),
}
"""By the coarsest type that took part in a value's making, from fine to coarse; integers and truth values are compared exactly.

A float16 has 11 significant bits: one rounding is off by 5e-4, and a network has some ten of them in a row. Likewise the others."""


def coarsest(*names: str) -> str:
    """Return the coarsest of some dtypes; "float32" where none of them is of floating type."""
    known = [name for name in TOLERANCES if name in names]
    if any(name.startswith(("float8", "float4")) for name in names):
        return "bfloat16"
    return known[-1] if known else "float32"


@dataclass(frozen=True)
class Difference:
    """How a tensor compares with what it should be.

    Attributes:
        name: the user's.
        dtype: of what was found.
        shape: of what was found.
        max_abs: the largest difference of two finite elements.
        max_rel: the largest such difference as a share of what the element should be, where that is not 0.
        cosine: of the angle between the two as vectors, over finite elements; 1 where both are zero.
        nans: not-a-numbers, found and expected.
        infs: infinities, found and expected.
        count: how many elements differ beyond the tolerance.
        first: index of the first of them in C order; None where there is none, or where the shapes differ.
        found: that element.
        expected: what it should be.
        expected_shape: what the shape should be.
        tolerance: what was allowed.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    max_abs: float
    max_rel: float
    cosine: float
    nans: tuple[int, int]
    infs: tuple[int, int]
    count: int
    first: tuple[int, ...] | None
    found: float
    expected: float
    expected_shape: tuple[int, ...]
    tolerance: Tolerance

    @property
    def agrees(self) -> bool:
        """Whether nothing differs beyond the tolerance."""
        return self.count == 0 and self.shape == self.expected_shape

    def describe(self) -> str:
        """Return what differs first, or "" where nothing does."""
        if self.shape != self.expected_shape:
            return f"shape {list(self.shape)}, expected {list(self.expected_shape)}"
        return "" if self.first is None else f"{list(self.first)}: {self.found:.6g}, expected {self.expected:.6g}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data; what JSON has no number for is a string such as "nan"."""
        data = {**vars(self), "tolerance": vars(self.tolerance), "agrees": self.agrees}
        return {key: str(value) if isinstance(value, float) and not np.isfinite(value) else value for key, value in data.items()}


def compare(name: str, found: Array, expected: Array, tolerance: Tolerance, dtype: str = "") -> Difference:
    """Return how ``found`` compares with ``expected``.

    Args:
        tolerance: for floating types; others are compared exactly. A NaN agrees with a NaN, an infinity with the same infinity.
        dtype: of ``found``, where NumPy lacks it and the array holds its bits.
    """
    dtype = dtype or found.dtype.name
    real, wanted = _numbers(found, dtype), _numbers(expected, expected.dtype.name)
    allowed = tolerance if dtype.startswith(("float", "bfloat", "complex")) else Tolerance()
    if found.shape != expected.shape:
        nans, infs = (_count(np.isnan, real), _count(np.isnan, wanted)), (_count(np.isinf, real), _count(np.isinf, wanted))
        return Difference(name, dtype, found.shape, 0, 0, 0, nans, infs, max(real.size, wanted.size), None, 0, 0, expected.shape, allowed)
    finite = np.isfinite(real) & np.isfinite(wanted)
    gap, _, wrong = _gaps(real, wanted, allowed)
    size = np.abs(np.where(finite, wanted, 0))
    first = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape)) if wrong.any() else None
    return Difference(
        name=name,
        dtype=dtype,
        shape=found.shape,
        max_abs=float(gap.max(initial=0)),
        max_rel=float(np.divide(gap, size, out=np.zeros_like(gap), where=size > 0).max(initial=0)),
        cosine=_cosine(np.where(finite, real, 0), np.where(finite, wanted, 0)),
        nans=(_count(np.isnan, real), _count(np.isnan, wanted)),
        infs=(_count(np.isinf, real), _count(np.isinf, wanted)),
        count=int(wrong.sum()),
        first=first,
        found=float(real[first]) if first is not None else 0.0,
        expected=float(wanted[first]) if first is not None else 0.0,
        expected_shape=expected.shape,
        tolerance=allowed,
    )


def shares(found: Array, expected: Array, tolerance: Tolerance, dtype: str = "") -> Array:
    """Return for each element by how much it differs as a share of what is allowed: beyond 1 it differs too much.

    Args:
        found: of the shape of ``expected``.
        tolerance: as it was applied (`Difference.tolerance`).
        dtype: as for `compare`.

    Returns:
        float64, of that shape; of complex ones the real and the imaginary parts in a last axis. Infinite where nothing may differ or
        where only one of the two is a number.
    """
    real, wanted = _numbers(found, dtype or found.dtype.name), _numbers(expected, expected.dtype.name)
    gap, bound, wrong = _gaps(real, wanted, tolerance)
    share = np.divide(gap, bound, out=np.where(gap > 0, np.inf, 0.0).astype(np.float64), where=np.asarray(bound) > 0, casting="unsafe")
    return np.where(np.isfinite(real) & np.isfinite(wanted), share, np.where(wrong, np.inf, 0.0))


def _gaps(real: Array, wanted: Array, allowed: Tolerance) -> tuple[Array, Array, Array]:
    """Return how far elements are apart, 0 where they are not numbers both; how far they may be; and which are wrong."""
    finite = np.isfinite(real) & np.isfinite(wanted)
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.where(finite, np.abs(np.where(finite, real, 0) - np.where(finite, wanted, 0)), 0)
    size = np.abs(np.where(finite, wanted, 0))
    bound = allowed.atol + allowed.rtol * size + allowed.scaled * size.max(initial=0)
    same_kind = (np.isnan(real) & np.isnan(wanted)) | (real == wanted)
    return gap, bound, np.where(finite, gap > bound, ~same_kind)


def comparable(dtype: str) -> bool:
    """Return whether arrays of a dtype hold its numbers, or bits that `compare` can read."""
    return dtype == "bfloat16" or (dtypes.is_dtype(dtype) and dtypes.holder(dtype).name == dtype)


def _numbers(array: Array, dtype: str) -> Array:
    """Return the elements as numbers that can be subtracted; complex ones as pairs."""
    if dtype == "bfloat16" and array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if np.iscomplexobj(array):
        return np.stack([array.real, array.imag], axis=-1).astype(np.float64)
    return array.astype(np.longdouble if array.dtype.itemsize == 8 and array.dtype.kind in "iu" else np.float64)


def _count(test: Any, array: Array) -> int:
    return int(test(array).sum())


def _cosine(found: Array, expected: Array) -> float:
    a, b = found.ravel().astype(np.float64), expected.ravel().astype(np.float64)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.dot(a, b) / norms) if norms else float(not a.any() and not b.any())
