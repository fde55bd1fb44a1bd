"""Images that an offline model preprocesses itself (AIPP): the order of their axes, and which value of a program is the raw image.

A port with AIPP takes the raw picture, NHWC. A program that came from a network mostly has it NCHW: then the compiler may permute
it by itself, since nothing is lost. What a program computes of the raw picture is not to be given to such a port.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from landbridge.ir.body import Binding, is_cast, is_constant, is_operator, operands, operator_name
from landbridge.ir.sizes import dtype_of, equal_sizes, shape_of
from landbridge.runtime.dims import Size
from landbridge.runtime.signature import Port

TO_NHWC = (0, 2, 3, 1)
"""The order in which the axes of an NCHW value stand in an NHWC one."""

_AIPP_DOES = frozenset({"astype", "add", "subtract", "multiply", "divide", "permute_dims", "reshape"})
"""Operators on one image that the preprocessing inside an Ascend model can do: conversion, scaling, normalising, the order of axes."""


def aipp_does(value: Any) -> bool:
    """Return whether preprocessing inside a model can do what ``value`` does."""
    return (is_operator(value) or is_cast(value)) and operator_name(value) in _AIPP_DOES


def image_chain(producers: Mapping[Any, Binding], value: Any) -> tuple[Any, list[Binding]]:
    """Return the value that ``value`` is made of by AIPP's operators alone, the first such, and these operators, the last one first."""
    passed: list[Binding] = []
    while value in producers and aipp_does(producers[value].value):
        sources = [operand for operand in operands(producers[value].value) if not is_constant(operand)]
        if len(sources) != 1:
            break
        passed.append(producers[value])
        value = sources[0]
    return value, passed


def permuted(port: Port, shape: Sequence[Size] | None, known: Mapping[str, Size]) -> tuple[Size, ...] | None:
    """Return the NHWC shape of an NCHW value of this ``shape`` for an image port, None where it is no case for a permutation.

    Args:
        known: what the signature's named dimensions are already known to be.
    """
    if port.aipp is None or port.layout != "NHWC" or shape is None or len(shape) != 4 or _fits(port, shape, known):
        return None
    turned = tuple(shape[axis] for axis in TO_NHWC)
    return turned if _fits(port, turned, known) else None


def raw_image(producers: Mapping[Any, Binding], value: Any, port: Port) -> Any | None:
    """Return the value that ``value`` is preprocessed from and that ``port`` takes, as it is or with its axes permuted."""
    image, passed = image_chain(producers, value)
    shape = shape_of(image.ty)
    if not passed or dtype_of(image.ty) != port.dtype or shape is None:
        return None
    return image if _fits(port, shape, {}) or permuted(port, shape, {}) else None


def _fits(port: Port, shape: Sequence[Size], known: Mapping[str, Size]) -> bool:
    if len(port.shape) != len(shape):
        return False
    extents = dict(known)
    return all(
        equal_sizes(extents.setdefault(dim, extent) if isinstance(dim, str) else dim, extent)
        for dim, extent in zip(port.shape, shape, strict=True)
    )
