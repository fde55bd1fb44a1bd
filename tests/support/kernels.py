"""Kernels of small programs, and what they compute, for tests of schedules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from landbridge.codegen import build
from landbridge.codegen.graph import read_graph
from landbridge.codegen.lower import lower
from landbridge.codegen.schedule_steps import schedule_steps
from support.other_targets import run_on
from support.placed_programs import build_main, placed

Array = np.ndarray[Any, Any]
Make = Callable[..., Any]
"""From a function that binds an expression, and parameters, to the result."""


@dataclass(frozen=True)
class Case:
    """An expression over inputs and what NumPy gives for it.

    Attributes:
        named: positions, as input and axis, whose extent is the dimension of this name.
    """

    name: str
    inputs: tuple[Array, ...]
    make: Make
    expected: Array
    named: Mapping[tuple[int, int], str]


def case(name: str, inputs: Sequence[Array], make: Make, expected: Array, named: Mapping[tuple[int, int], str] | None = None) -> Case:
    """Return a case."""
    return Case(name, tuple(inputs), make, expected, named or {})


def compute(cases: Sequence[Case], target: str | None = None) -> dict[str, Array]:
    """Return what each case gives; all are one program, so that there is one compilation."""
    inputs: dict[str, tuple[list[Any], str]] = {}
    arrays: dict[str, Array] = {}
    for one in cases:
        for i, array in enumerate(one.inputs):
            shape = [one.named.get((i, axis), extent) for axis, extent in enumerate(array.shape)]
            inputs[f"{one.name}_{i}"] = (shape, str(array.dtype))
            arrays[f"{one.name}_{i}"] = array

    def make(emit: Any, *params: Any) -> list[Any]:
        by_name = {str(param.name): param for param in params}
        return [emit(one.make(emit, *(by_name[f"{one.name}_{i}"] for i in range(len(one.inputs))))) for one in cases]

    program = placed(build_main(inputs, make), outputs=[one.name for one in cases])
    return run_on(target, build(program, target, name="cases"))(**arrays)


def kernels_of(make: Make, shapes: Sequence[Sequence[Any]], target: Any, dtype: str = "float32") -> dict[str, Any]:
    """Return the kernels of a program of inputs of one type by name, as they are before schedules."""
    inputs = {f"x{i}": (list(shape), dtype) for i, shape in enumerate(shapes)}
    graph = read_graph(placed(build_main(inputs, lambda emit, *params: [emit(make(emit, *params))])))
    return {str(name.name_hint): kernel for name, kernel in lower(graph, schedule_steps(graph), target).kernels.functions.items()}


def only_kernel(make: Make, shapes: Sequence[Sequence[Any]], target: Any) -> Any:
    """Return the one kernel of a program, as it is before schedules."""
    (kernel,) = kernels_of(make, shapes, target).values()
    return kernel
