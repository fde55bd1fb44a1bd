"""Fourier transforms of known length as matrix products: of what audio models have, these are as fast as a transform that is not for them.

Source: https://onnx.ai/onnx/operators/onnx__DFT.html, https://onnx.ai/onnx/operators/onnx__STFT.html
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, te, tirx

from landbridge.frontends.onnx.operators.call import Array, Call, Declined, Rule, constant, product

_MOST_NBYTES = 1 << 25
"""A larger matrix is not made: a real transform of 2,048 numbers has one of 16 MiB."""


def _matrix(length: int, given: int, bins: int, parts: int, dtype: str, *, inverse: bool = False, window: Array | None = None) -> Any:
    """Return the constant matrix from numbers, as real and imaginary parts next to each other, to bins of the same form.

    Args:
        length: of the transform; more numbers than that are cut off, fewer are filled up with zeros.
        given: how many numbers there are.
        parts: 1 for real numbers, 2 for complex ones.
    """
    if given * parts * bins * 2 * np.dtype(dtype).itemsize > _MOST_NBYTES:
        raise Declined(f"a transform of {length} numbers")
    sign = 1 if inverse else -1
    turns = np.outer(np.arange(given), np.arange(bins)) % length  # exact, unlike the sine of a large number
    waves = np.exp(sign * 2j * np.pi * turns / length) / (length if inverse else 1)
    waves[length:] = 0
    if window is not None:
        waves = waves * window.astype("float64")[:, None]
    rows = np.stack([waves] if parts == 1 else [waves, 1j * waves], axis=1)
    return constant(np.stack([rows.real, rows.imag], axis=-1).reshape(given * parts, bins * 2), dtype)


def _real_matrix(length: int, given: int, dtype: str) -> Any:
    """Return the constant matrix from bins, as real and imaginary parts next to each other, to the real numbers that have them.

    They are half of the bins: the other half has the opposite imaginary parts.

    Args:
        length: how many numbers come out; bins that they have not are cut off, those that are not given are zero.
        given: how many bins there are.
    """
    if given * 2 * length * np.dtype(dtype).itemsize > _MOST_NBYTES:
        raise Declined(f"a transform of {length} numbers")
    bins = np.arange(given)
    weights = np.where((bins == 0) | (2 * bins == length), 1, 2) * (2 * bins <= length)  # one that has a twin counts for it too
    waves = np.exp(2j * np.pi * (np.outer(bins, np.arange(length)) % length) / length) * weights[:, None] / length
    return constant(np.stack([waves.real, -waves.imag], axis=1).reshape(given * 2, length), dtype)


def _known(call: Call, index: int, what: str) -> int | None:
    if not call.has(index):
        return None
    found = call.integers(index)
    if found is None or not isinstance(found[0], int):
        raise Declined(f"{what} that is known only when it runs")
    return found[0]


def _real_type(call: Call) -> str:
    if call.dtype(0) not in ("float32", "float64"):
        raise Declined(f"a transform of {call.dtype(0)}")
    return call.dtype(0)


def _stft(call: Call) -> Any:
    """``STFT`` of real signals: each frame, with its window, times one matrix."""
    dtype, (batch, samples, *parts) = _real_type(call), call.shape(0)
    step, window = _known(call, 1, "a step"), call.constant(2)
    length = _known(call, 3, "a length")
    if parts not in ([], [1]) or (call.has(2) and window is None):
        raise Declined("a complex signal, or a window that is known only when it runs")
    length = (len(window) if window is not None else None) if length is None else length
    if length is None or step is None or step < 1 or (window is not None and len(window) != length):
        raise Declined("frames of a length that is not known, or not that of the window")
    frames = (samples - length) // step + 1 if isinstance(samples, int) else tirx.floordiv(samples - length, step) + 1
    bins = length // 2 + 1 if call.number("onesided", 1) else length

    def cut(signal: Any, shape: list[Any]) -> Any:
        rest = [0] * len(parts)
        return te.compute(shape, lambda b, frame, i: signal(b, frame * step + i, *rest), name="frames")

    framed = call.compute(cut, call.tensor(0), relax.ShapeExpr([batch, frames, length]), name="frames")
    result = call.emit(relax.op.matmul(framed, _matrix(length, length, bins, 1, dtype, window=window)))
    return relax.op.reshape(result, [batch, frames, bins, 2])


def _dft(call: Call) -> Any:
    """``DFT`` and its inverse along one axis."""
    dtype, shape = _real_type(call), call.shape(0)
    rank = len(shape)
    axis = call.number("axis", 1) if call.opset < 20 else _known(call, 2, "an axis")
    axis = (-2 if axis is None else axis) % rank
    inverse, onesided, given, parts = bool(call.number("inverse", 0)), bool(call.number("onesided", 0)), shape[axis], shape[-1]
    to_real = inverse and onesided
    if axis == rank - 1 or not isinstance(given, int) or parts not in ((2,) if to_real else (1, 2)):
        raise Declined("an axis whose extent is not known, or that of the parts")
    length = _known(call, 1, "a length")
    length = (2 * (given - 1) if to_real else given) if length is None else length
    if length < 1:
        raise Declined(f"a transform of {length} numbers")
    order = [*(a for a in range(rank - 1) if a != axis), axis, rank - 1]
    outer = [shape[a] for a in order[:-2]]
    data = call.emit(relax.op.permute_dims(call.tensor(0), order))
    rows = call.emit(relax.op.reshape(data, [product(outer), given * parts]))
    bins = length // 2 + 1 if onesided and not inverse else length
    matrix = _real_matrix(length, given, dtype) if to_real else _matrix(length, given, bins, parts, dtype, inverse=inverse)
    result = call.emit(relax.op.matmul(rows, matrix))
    result = call.emit(relax.op.reshape(result, [*outer, bins, 1 if to_real else 2]))
    return relax.op.permute_dims(result, [order.index(a) for a in range(rank)])


OPERATORS: dict[str, Rule] = {"DFT": _dft, "STFT": _stft}
