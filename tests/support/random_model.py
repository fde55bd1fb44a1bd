"""An ONNX model that grows node by node, for `support.random_onnx`.

Values keep what a fair comparison of results needs: a bound of their magnitude, and whether they are *exact*, which is to say the
same to the last bit whoever computes them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from support.small_onnx import DTYPES

BATCH = "n"
"""The name of the dimension that stays open, always the first one."""

BOUND = 30.0
"""Magnitudes beyond this are brought back by a Tanh."""

OPSET = 17
FLOATS = ("float32", "float16")


@dataclass(frozen=True)
class Value:
    """A value of the model.

    Attributes:
        bound: no element's magnitude is larger; of integers the same.
        exact: no rounding has touched it.
        coarse: a float16 is among what it was computed from.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    bound: float
    exact: bool
    coarse: bool = False

    @property
    def inner(self) -> tuple[int, ...]:
        """The known extents: all, or all but the batch."""
        return tuple(extent for extent in self.shape if isinstance(extent, int))


@dataclass
class RandomModel:
    """A model while it grows, and once it is done.

    Attributes:
        dynamic: the first extent of every input and of most values is `BATCH`; otherwise it is 2.
    """

    rng: random.Random
    dynamic: bool
    inputs: dict[str, Value] = field(default_factory=dict)
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    ops: set[str] = field(default_factory=set)

    @property
    def batch(self) -> int | str:
        """The first extent."""
        return BATCH if self.dynamic else 2

    def pick(self, *dtypes: str, rank: int = 0, exact: bool = False) -> Value | None:
        """Return a value of such a kind, late ones more often; ``rank`` 0 is any."""
        found = [
            value
            for value in self.values.values()
            if value.dtype in dtypes and (not rank or len(value.shape) == rank) and (value.exact or not exact)
        ]
        return self.rng.choice(found[-8:]) if found else None

    def constant(self, array: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return name

    def weights(self, dtype: str, *shape: int, scale: float = 1.0) -> str:
        """Add a constant of random numbers of magnitude ``scale``, on a grid that float16 holds."""
        count = int(np.prod(shape, dtype=np.int64))
        numbers = [self.rng.randint(-32, 32) / 32 * scale for _ in range(count)]
        return self.constant(np.array(numbers).reshape(shape).astype(dtype))

    def add(self, op: str, inputs: Sequence[str], *results: tuple[str, Sequence[int | str], float, bool], **attributes: Any) -> list[Value]:
        """Add a node; ``results`` are (dtype, shape, bound, exact)."""
        domain = attributes.pop("domain", "")
        number = len(self.nodes)
        rough = any(name in self.values and self.values[name].coarse for name in inputs)
        made = [
            Value(f"v{number}" + (f"_{i}" if len(results) > 1 else ""), dtype, tuple(shape), bound, exact, rough or dtype == "float16")
            for i, (dtype, shape, bound, exact) in enumerate(results)
        ]
        self.nodes.append(
            helper.make_node(op, list(inputs), [value.name for value in made], name=f"{op.lower()}_{number}", domain=domain, **attributes)
        )
        self.values |= {value.name: value for value in made}
        self.ops.add(op)
        if results[0][0] in FLOATS and results[0][2] > BOUND:
            value = made[0]
            made[0] = self.add("Tanh", [value.name], (value.dtype, value.shape, 1.0, False))[0]
        return made

    def proto(self) -> Any:
        """Return the model as a ``ModelProto``."""
        graph = helper.make_graph(
            self.nodes,
            "random",
            [_info(value) for value in self.inputs.values()],
            [_info(self.values[name]) for name in self.outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
            value_info=[_info(self.values[name]) for proto in self.nodes if proto.domain for name in proto.output],
        )
        imports = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)

    def feeds(self, rows: int) -> dict[str, NDArray[Any]]:
        """Return random inputs for a batch of ``rows``."""
        numbers = np.random.default_rng(self.rng.randrange(1 << 30))
        result: dict[str, NDArray[Any]] = {}
        for value in self.inputs.values():
            shape = [extent if isinstance(extent, int) else rows for extent in value.shape]
            if value.dtype in FLOATS:
                result[value.name] = (numbers.integers(-96, 97, shape) / 32).astype(value.dtype)
            else:
                low = 0 if value.dtype == "uint8" else -3
                result[value.name] = numbers.integers(low, int(value.bound) + 1, shape).astype(value.dtype)
        return result


def _info(value: Value) -> Any:
    return helper.make_tensor_value_info(value.name, DTYPES[value.dtype], value.shape)
