"""Operators on images whose channels lie in blocks: [batch, channels / 16, height, width, 16].

A block is what a few vector registers hold, so that neighbouring lanes are neighbouring channels of one pixel, whatever the window, the
stride or the padding. Where the channels are no multiple of 16, the last block is filled up; nobody relies on what is in there.
The functions here are for ``call_te``; `landbridge.codegen.block_channels` uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from landbridge.codegen.schedules.blocked import BLOCK, BLOCKED
from landbridge.codegen.schedules.padding import padded

Array = np.ndarray[Any, Any]
Pair = Sequence[int]
Compute = Callable[..., Any]


def _larger(left: Any, right: Any) -> Any:
    return tirx.max(left, right)


_LARGEST = te.comm_reducer(_larger, lambda dtype: -tirx.infinity(dtype), name="largest")


def blocks_of(channels: int) -> int:
    """Return how many blocks ``channels`` take."""
    return -(-channels // BLOCK)


def to_blocks(data: Any) -> Any:
    """Return [batch, channels, height, width] in blocks, filled up with zeros."""
    batch, channels, height, width = data.shape
    count = int(channels)

    def element(n: Any, c: Any, y: Any, x: Any, lane: Any) -> Any:
        channel = c * BLOCK + lane
        if count % BLOCK == 0:
            return data[n, channel, y, x]
        return tirx.if_then_else(channel < count, data[n, tirx.min(channel, count - 1), y, x], tirx.const(0, data.dtype))

    return te.compute([batch, _long(blocks_of(count)), height, width, _long(BLOCK)], element, name="to_blocks")


def from_blocks(channels: int) -> Compute:
    """Return what takes ``channels`` out of their blocks."""

    def compute(data: Any) -> Any:
        shape = [data.shape[0], _long(channels), data.shape[2], data.shape[3]]
        return te.compute(shape, lambda n, c, y, x: data[n, c // BLOCK, y, x, c % BLOCK], name="from_blocks")

    return compute


def blocked_constant(array: Array) -> Array:
    """Return [1 or batch, channels, height, width] constants in blocks, filled up with zeros."""
    batch, channels, height, width = array.shape
    filled = np.zeros((batch, blocks_of(channels) * BLOCK, height, width), array.dtype)
    filled[:, :channels] = array
    return np.ascontiguousarray(filled.reshape(batch, -1, BLOCK, height, width).transpose(0, 1, 3, 4, 2))


def blocked_weight(weight: Array, *, plain_input: bool) -> Array:
    """Return [outputs, inputs, height, width] weights as the kernels of `convolution` read them.

    That is [output blocks, input blocks, height, width, inputs of a block, outputs of a block], or, for data whose channels are in no
    blocks, [output blocks, height, width, inputs, outputs of a block].
    """
    outputs, inputs, height, width = weight.shape
    filled = np.zeros((blocks_of(outputs) * BLOCK, inputs if plain_input else blocks_of(inputs) * BLOCK, height, width), weight.dtype)
    filled[:outputs, :inputs] = weight
    if plain_input:
        return np.ascontiguousarray(filled.reshape(-1, BLOCK, inputs, height, width).transpose(0, 3, 4, 2, 1))
    split = filled.reshape(-1, BLOCK, filled.shape[1] // BLOCK, BLOCK, height, width)
    return np.ascontiguousarray(split.transpose(0, 2, 4, 5, 3, 1))


def convolution(outputs: int, groups: int, strides: Pair, padding: Pair, dilation: Pair) -> Compute:
    """Return the convolution of data and a `blocked_weight`; the data is in blocks, or the weight is for data that is not."""

    def conv2d(data: Any, weight: Any) -> Any:
        plain = len(data.shape) == 4
        image = padded(data, padding)
        kernel = [int(extent) for extent in list(weight.shape)[1 if plain else 2 :][:2]]
        shape = [data.shape[0], _long(outputs), *_window_counts(image, kernel, strides, dilation), _long(BLOCK)]
        ry, rx = (te.reduce_axis((0, _long(extent)), name=name) for extent, name in zip(kernel, ("ry", "rx"), strict=True))

        def pixel(y: Any, x: Any) -> tuple[Any, Any]:
            return y * strides[0] + ry * dilation[0], x * strides[1] + rx * dilation[1]

        if plain:
            rc = te.reduce_axis((0, weight.shape[3]), name="rc")
            return te.compute(
                shape,
                lambda n, c, y, x, lane: te.sum(image[n, rc, *pixel(y, x)] * weight[c, ry, rx, rc, lane], axis=[ry, rx, rc]),
                name="conv2d",
                attrs={BLOCKED: "plain"},
            )
        own, inputs = outputs // groups, int(weight.shape[1])
        rc, ri = (te.reduce_axis((0, _long(extent)), name=name) for extent, name in ((inputs, "rc"), (BLOCK, "ri")))

        def product(n: Any, c: Any, y: Any, x: Any, lane: Any) -> Any:
            block = rc if groups == 1 else c // own * inputs + rc
            return te.sum(image[n, block, *pixel(y, x), ri] * weight[c, rc, ry, rx, ri, lane], axis=[rc, ry, rx, ri])

        return te.compute(shape, product, name="conv2d", attrs={BLOCKED: "blocks"})

    return conv2d


def depthwise(strides: Pair, padding: Pair, dilation: Pair) -> Compute:
    """Return the convolution of each channel alone; the weight is [1, channel blocks, height, width, 16]."""

    def conv2d(data: Any, weight: Any) -> Any:
        image = padded(data, padding)
        kernel = [int(extent) for extent in list(weight.shape)[2:4]]
        shape = [data.shape[0], data.shape[1], *_window_counts(image, kernel, strides, dilation), _long(BLOCK)]
        ry, rx = (te.reduce_axis((0, _long(extent)), name=name) for extent, name in zip(kernel, ("ry", "rx"), strict=True))

        def product(n: Any, c: Any, y: Any, x: Any, lane: Any) -> Any:
            value = image[n, c, y * strides[0] + ry * dilation[0], x * strides[1] + rx * dilation[1], lane]
            return te.sum(value * weight[0, c, ry, rx, lane], axis=[ry, rx])

        return te.compute(shape, product, name="conv2d", attrs={BLOCKED: "depthwise"})

    return conv2d


def max_pool(size: Sequence[int], kernel: Pair, strides: Pair, padding: Pair) -> Compute:
    """Return the maximum over windows of ``kernel``, of which there are ``size``.

    A position outside of the image stands for the nearest one inside, which is in the window, too: no window lies outside as a whole.
    """

    def pool(data: Any) -> Any:
        height, width = data.shape[2], data.shape[3]
        ry, rx = (te.reduce_axis((0, _long(extent)), name=name) for extent, name in zip(kernel, ("ry", "rx"), strict=True))

        def inside(position: Any, extent: Any, before: int, after: bool) -> Any:
            at = position if before == 0 else tirx.max(position - before, _long(0))
            return tirx.min(at, extent - 1) if after else at

        low, high = ((count - 1) * step - before + window > int(extent) for count, step, before, window, extent in _ends(data))

        def largest(n: Any, c: Any, y: Any, x: Any, lane: Any) -> Any:
            row = inside(y * strides[0] + ry, height, padding[0], low)
            column = inside(x * strides[1] + rx, width, padding[1], high)
            return _LARGEST(data[n, c, row, column, lane], axis=[ry, rx])

        shape = [data.shape[0], data.shape[1], *map(_long, size), data.shape[4]]
        return te.compute(shape, largest, name="max_pool", attrs={BLOCKED: "pool"})

    def _ends(data: Any) -> list[tuple[Any, ...]]:
        return list(zip(size, strides, padding[:2], kernel, list(data.shape)[2:4], strict=True))

    return pool


def average_pool(size: Sequence[int], kernel: Pair, strides: Pair, padding: Pair, *, count_padding: bool) -> Compute:
    """Return the mean over windows of ``kernel``, of which there are ``size``.

    Args:
        count_padding: positions outside of the image are zeros that count; otherwise the mean is over what lies inside.
    """

    def pool(data: Any) -> Any:
        extents = data.shape[2], data.shape[3]
        ry, rx = (te.reduce_axis((0, _long(extent)), name=name) for extent, name in zip(kernel, ("ry", "rx"), strict=True))
        exact = [
            before == 0 and (count - 1) * step + window <= int(extent)
            for count, step, before, window, extent in zip(size, strides, padding[:2], kernel, extents, strict=True)
        ]

        def value(n: Any, c: Any, y: Any, x: Any, lane: Any) -> Any:
            row, column = y * strides[0] + ry - padding[0], x * strides[1] + rx - padding[1]
            if all(exact):
                return data[n, c, row, column, lane]
            is_in = tirx.all(row >= 0, row < extents[0], column >= 0, column < extents[1])
            at = [tirx.max(tirx.min(place, extent - 1), _long(0)) for place, extent in zip((row, column), extents, strict=True)]
            return tirx.Select(is_in, data[n, c, *at, lane], tirx.const(0, data.dtype))

        def positions(number: Any, axis: int) -> Any:
            start = number * strides[axis] - padding[axis]
            return tirx.min(start + kernel[axis], extents[axis]) - tirx.max(start, _long(0))

        shape = [data.shape[0], data.shape[1], *map(_long, size), data.shape[4]]
        total = te.compute(shape, lambda *at: te.sum(value(*at), axis=[ry, rx]), name="sum_pool", attrs={BLOCKED: "pool"})

        def mean(n: Any, c: Any, y: Any, x: Any, lane: Any) -> Any:
            if count_padding or all(exact):
                return total[n, c, y, x, lane] * tirx.const(1 / (kernel[0] * kernel[1]), data.dtype)
            return total[n, c, y, x, lane] / tirx.Cast(data.dtype, positions(y, 0) * positions(x, 1))

        return te.compute(shape, mean, name="mean_pool")

    return pool


def local_response(size: int, alpha: float, bias: float, beta: float) -> Compute:
    """Return each number divided by ``(bias + alpha * mean of the squares of size channels around it) ** beta``; blocks are full."""

    def lrn(data: Any) -> Any:
        batch, blocks, height, width, _ = data.shape

        def square(n: Any, c: Any, y: Any, x: Any, place: Any) -> Any:
            block = c + place // BLOCK - 1
            value = data[n, tirx.max(tirx.min(block, blocks - 1), _long(0)), y, x, place % BLOCK]
            return tirx.if_then_else(tirx.all(block >= 0, block < blocks), value * value, tirx.const(0, data.dtype))

        around = te.compute([batch, blocks, height, width, _long(3 * BLOCK)], square, name="around")
        window = te.reduce_axis((0, _long(size)), name="window")
        first = BLOCK - size // 2
        total = te.compute(
            data.shape,
            lambda *at: te.sum(around(*at[:4], at[4] + window + first), axis=[window]),
            name="squares",
            attrs={BLOCKED: "window"},
        )
        mean, start, power = (tirx.const(value, data.dtype) for value in (alpha / size, bias, beta))
        return te.compute(data.shape, lambda *at: data(*at) / tirx.pow(start + mean * total(*at), power), name="lrn")

    return lrn


def _window_counts(image: Any, kernel: Pair, strides: Pair, dilation: Pair) -> list[Any]:
    extents = [int(extent) for extent in list(image.shape)[2:4]]
    windows = zip(extents, kernel, strides, dilation, strict=True)
    return [_long((extent - (size - 1) * step - 1) // stride + 1) for extent, size, stride, step in windows]


def _long(extent: Any) -> Any:
    return tirx.const(int(extent), "int64")
