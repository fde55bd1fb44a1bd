"""Read pooling operators as windows over images, for `landbridge.codegen.block_channels`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from landbridge.codegen.blocked_operators import Compute, average_pool, max_pool


def _windows(call: Any) -> tuple[list[int], list[int], list[int], list[int]] | None:
    """Return how many windows there are, their sizes, strides and paddings, or None where they have gaps."""
    attrs = call.attrs
    if str(attrs.layout) != "NCHW" or str(attrs.out_layout or attrs.layout) != "NCHW" or any(int(n) != 1 for n in attrs.dilation):
        return None
    size = [int(extent) for extent in list(call.ty.shape)[2:]]
    kernel, strides, padding = ([int(n) for n in values] for values in (attrs.pool_size, attrs.strides, attrs.padding))
    return size, kernel, strides, padding


def _start_inside(call: Any, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], padding: Sequence[int]) -> bool:
    """Return whether every window has a position inside of the image."""
    extents = [int(extent) for extent in list(call.args[0].ty.shape)[2:]]
    return all(
        before < window and (count - 1) * step - before < extent
        for count, window, step, before, extent in zip(size, kernel, strides, padding[:2], extents, strict=True)
    )


def _max(call: Any) -> Compute | None:
    windows = _windows(call)
    return max_pool(*windows) if windows is not None and _start_inside(call, *windows) else None


def _average(call: Any) -> Compute | None:
    windows = _windows(call)
    if windows is None or not _start_inside(call, *windows):
        return None
    size, kernel, strides, padding = windows
    extents = [int(extent) for extent in list(call.args[0].ty.shape)[2:]]
    padded = [extent + padding[axis] + padding[axis + 2] for axis, extent in enumerate(extents)]
    beyond = any((count - 1) * step + window > extent for count, step, window, extent in zip(size, strides, kernel, padded, strict=True))
    counted = bool(call.attrs.count_include_pad)
    return None if counted and beyond else average_pool(*windows, count_padding=counted)


def _whole(call: Any) -> Compute | None:
    """Return the mean over whole images."""
    extents = [int(extent) for extent in list(call.args[0].ty.shape)[2:]]
    return average_pool([1, 1], extents, [1, 1], [0, 0, 0, 0], count_padding=False)


def _mean(call: Any) -> Compute | None:
    axes = call.attrs.axis
    whole = axes is not None and sorted(int(axis) % 4 for axis in axes) == [2, 3] and bool(call.attrs.keepdims)
    return _whole(call) if whole else None


def _adaptive(call: Any) -> Compute | None:
    is_whole = str(call.attrs.layout) == "NCHW" and [int(extent) for extent in list(call.ty.shape)[2:]] == [1, 1]
    return _whole(call) if is_whole else None


POOLS: dict[str, Callable[[Any], Compute | None]] = {
    "relax.nn.max_pool2d": _max,
    "relax.nn.avg_pool2d": _average,
    "relax.mean": _mean,
    "relax.nn.adaptive_avg_pool2d": _adaptive,
}
"""For each operator what computes it over channels in blocks, or nothing where it is not the usual one."""
