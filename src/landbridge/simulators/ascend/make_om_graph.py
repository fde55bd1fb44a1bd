"""The graph of an OM file while it is being made: operators of the GE dialect, their tensors, and the weights.

Tensors are in plain form, [n, c, h, w] or without meaning ("ND"): the device's own layouts (NC1HWC0 …) are left to ATC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.dtypes import nbytes_of

ALIGNMENT = 512
"""Of each constant in the weights and each tensor in the workspace, in bytes; as in the vendor's files."""

FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Tensor:
    """One output of an operator, with the shape it has in the largest gear.

    Attributes:
        order: of its dimensions, where it is not the usual one.
        raw_nbytes: of an image before its preprocessing the bytes that the caller gives, which are not those of the shape.
    """

    op: str
    index: int
    dtype: str
    shape: tuple[int, ...]
    order: str = ""
    raw_nbytes: int = 0

    @property
    def layout(self) -> str:
        """What the file calls the order of its dimensions."""
        return self.order or ("NCHW" if len(self.shape) == 4 else "ND")

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return self.raw_nbytes or nbytes_of(self.dtype, self.shape)


@dataclass(frozen=True)
class WeightRef:
    """An attribute that is a constant in the weights: its tensor and where it begins there."""

    tensor: Tensor
    offset_bytes: int


@dataclass(frozen=True)
class NamedAttributes:
    """An attribute that is itself a map of numbers."""

    name: str
    values: Mapping[str, bool | int | float]


Attribute = bool | int | float | str | Sequence[int] | Sequence[str] | WeightRef | NamedAttributes


@dataclass
class Op:
    """An operator: ``outputs`` are what it makes; a NetOutput has none."""

    name: str
    type: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    attributes: dict[str, Attribute]


@dataclass
class Graph:
    """Operators, each after those it reads from, and the weights they refer to."""

    ops: list[Op] = field(default_factory=list)
    weights: bytearray = field(default_factory=bytearray)
    _names: set[str] = field(default_factory=set)
    _constants: dict[tuple[str, tuple[int, ...], bytes], Tensor] = field(default_factory=dict)

    def add(
        self,
        type_: str,
        name: str,
        inputs: Sequence[Tensor],
        outputs: Sequence[tuple[str, tuple[int, ...]]],
        attributes: Mapping[str, Attribute] | None = None,
    ) -> Op:
        """Append an operator, whose ``outputs`` are pairs of dtype and shape; a name that is taken gets a number."""
        name = self._unique(name or type_)
        made = [Tensor(name, index, dtype, shape) for index, (dtype, shape) in enumerate(outputs)]
        self.ops.append(Op(name, type_, list(inputs), made, dict(attributes or {})))
        return self.ops[-1]

    def constant(self, array: NDArray[Any], dtype: str, name: str) -> Tensor:
        """Return a constant with the elements of ``array`` as ``dtype``; equal constants are one.

        What is too large for float16 becomes its largest number, as in the vendor's tool; infinities stay.
        """
        if dtype == "float16" and array.dtype != np.float16:
            array = np.where(np.isinf(array), array, np.clip(array, -FLOAT16_MAX, FLOAT16_MAX))
        data = np.ascontiguousarray(array.astype(dtype)).tobytes()
        key = (dtype, array.shape, data)
        if key not in self._constants:
            self.weights.extend(bytes(-len(self.weights) % ALIGNMENT))
            op = self.add("Const", name, [], [(dtype, array.shape)])
            op.attributes["value"] = WeightRef(op.outputs[0], len(self.weights))
            self.weights.extend(data)
            self._constants[key] = op.outputs[0]
        return self._constants[key]

    def _unique(self, name: str) -> str:
        found, number = name, 1
        while found in self._names:
            found, number = f"{name}_{number}", number + 1
        self._names.add(found)
        return found
