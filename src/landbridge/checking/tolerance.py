"""How far native code may be off the reference before it counts as wrong.

Wider than what `landbridge.runtime.comparison` allows one who looks for a difference: a wrong kernel is off by far more than rounding,
and a right one must not be thrown out because a deep network piles its rounding up.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from landbridge.runtime.comparison import Tolerance, coarsest, compare

ALLOWED: dict[str, Tolerance] = {
    "float64": Tolerance(1e-6, 0, 1e-7),
    "float32": Tolerance(1e-3, 0, 1e-4),
    "float16": Tolerance(2e-2, 0, 1e-2),
    "bfloat16": Tolerance(1e-1, 0, 5e-2),
}
"""By the coarsest floating type that takes part; whole numbers and truth values must be equal."""


def difference(name: str, found: Any, expected: Any, *types: str) -> str:
    """Return in what ``found`` differs from what it should be, or "".

    Where the reference gives no number (NaN), anything goes: made-up inputs lead out of an operator's domain.

    Args:
        types: dtypes that took part in making the value besides its own.
    """
    found, expected = np.asarray(found), np.asarray(expected)
    if found.dtype != expected.dtype or found.shape != expected.shape:
        theirs, ours = f"{expected.dtype} {list(expected.shape)}", f"{found.dtype} {list(found.shape)}"
        return f"'{name}' is {ours}, expected {theirs}"
    if expected.dtype.kind == "f" and np.isnan(expected).any():
        found = np.where(np.isnan(expected), expected, found)
    allowed = ALLOWED[coarsest(found.dtype.name, *types)]
    compared = compare(name, found, expected, allowed)
    return "" if compared.agrees else f"'{name}' {compared.describe()}"
