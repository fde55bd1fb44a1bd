"""Kernels that are loops and not formulas: scans, searches, recurrences.

A body reads and writes buffers element by element, with one index for each axis, through `tvm.script.ir_builder`. What it does must not
depend on what its outputs held before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as ib

Out = tuple[Sequence[Any], str]
"""Shape and dtype of an output."""


def loops(name: str, inputs: Sequence[Any], outputs: Sequence[Out], body: Callable[..., None]) -> Any:
    """Return the TE tensors that a body makes: one, or a list.

    Args:
        inputs: TE tensors.
        body: called with a buffer for each input, then one for each output; emits statements.
    """

    def generate(sources: Sequence[Any], results: Sequence[Any]) -> Any:
        with IRBuilder() as builder:
            with ib.serial(0, 1):  # a builder takes one statement
                body(*map(ib.buffer_proxy, sources), *map(ib.buffer_proxy, results))
            return builder.get()

    return te.extern([list(shape) for shape, _ in outputs], list(inputs), generate, name=name, dtype=[dtype for _, dtype in outputs])


def variable(dtype: str, start: Any) -> Any:
    """Return a variable, as a buffer of one element, with a start value."""
    buffer = ib.buffer_proxy(ib.alloc_buffer((1,), dtype))
    buffer[0] = start
    return buffer


def each(indices: Any) -> list[Any]:
    """Return the indices of a grid as a list, also where there is one."""
    return [indices] if isinstance(indices, tirx.Var) else list(indices)


def when(condition: Any, then: Callable[[], None], otherwise: Callable[[], None] | None = None) -> None:
    """Emit a branch."""
    with ib.If(condition):
        with ib.Then():
            then()
        if otherwise is not None:
            with ib.Else():
                otherwise()


def check(condition: Any, message: str) -> None:
    """Emit a check: where it fails, the run fails with the message."""
    with ib.Assert(condition, message):
        ib.evaluate(0)
