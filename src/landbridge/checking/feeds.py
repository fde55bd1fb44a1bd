"""Make up inputs for a model of which nothing is known but their types: the first ones that the reference accepts.

Images want extents that a stride divides, tokens want numbers that an embedding has, logarithms want what is positive: so there are
several tries, from telling ones to tame ones. The same types give the same inputs, always.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.dims import evaluate
from landbridge.runtime.gate import TensorInfo

Array = NDArray[Any]
Feed = dict[str, Array]

_EXTENTS = ((2, 3, 5, 7), (3, 5, 4, 6), (1, 8), (2, 16), (1, 32), (2, 64), (1, 128), (1, 224), (1, 1), (4, 4))
"""Extents for the named dimensions in their order, the last of them for all that follow; the first is a batch as a rule."""

_STYLES = ("spread", "positive", "zeros")
"""Floating numbers around zero and whole ones up to 7; both between 0 and 1; nothing but zeros."""

MAX_ELEMENTS = 1 << 23
"""The most elements that an input with open dimensions is made up with."""


def feeds(
    inputs: Sequence[TensorInfo],
    dims: Sequence[str],
    ranges: Mapping[str, tuple[int, int]] | None = None,
    tells_less: Callable[[Mapping[str, int]], bool] = lambda extents: False,
) -> Iterator[tuple[Mapping[str, int], Feed]]:
    """Yield extents and inputs to try, the most telling first; of each choice of extents in all styles.

    Args:
        ranges: the least and the largest extent of dimensions that have a range.
        tells_less: which extents come after all others.
    """
    ends = [(ranges or {}).get(name, (0, MAX_ELEMENTS)) for name in dims]
    choices = [
        {name: min(max(chosen[min(index, len(chosen) - 1)], ends[index][0]), ends[index][1]) for index, name in enumerate(dims)}
        for chosen in _EXTENTS
    ]
    for extents in sorted(choices, key=tells_less) if dims else ({},):
        shapes = [tuple(evaluate(size, extents) for size in info.shape) for info in inputs]
        if dims and sum(math.prod(shape) for shape in shapes) > MAX_ELEMENTS:
            continue
        for style in _STYLES:
            generator = np.random.default_rng(0)
            named = zip(inputs, shapes, strict=True)
            yield extents, {info.name: made_up(np.dtype(info.dtype), shape, style, generator) for info, shape in named}


def made_up(dtype: np.dtype[Any], shape: tuple[int, ...], style: str, generator: np.random.Generator) -> Array:
    """Return an array in one of the styles."""
    if style == "zeros":
        return np.zeros(shape, dtype)
    if dtype.kind == "f":
        return np.asarray(generator.normal(size=shape) if style == "spread" else generator.uniform(0.1, 1, shape)).astype(dtype)
    if dtype.kind == "b" or style == "positive":
        return np.asarray(generator.integers(0, 2, shape)).astype(dtype)
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.itemsize == 1 else (0, 7)
    return np.asarray(generator.integers(low, high, shape, endpoint=True)).astype(dtype)


def noisy(array: Array, generator: np.random.Generator) -> Array:
    """Return floating numbers each off by a few units in the last place; others as they are."""
    if array.dtype.kind != "f":
        return array
    scale = 16 * float(np.finfo(array.dtype).eps)
    return np.asarray(array * (1 + scale * generator.standard_normal(array.shape))).astype(array.dtype)
