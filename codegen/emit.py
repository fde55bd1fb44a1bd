"""Write the C file with one function a segment.

A segment is tables, which ``support.c`` walks: a C compiler takes seconds for a thousand calls and no time for a table of them.
The arguments of kernels were made by the compiler that made the kernels; what a kernel still checks comes back as an error text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tvm

from landbridge.codegen.kernel_calls import KernelCall, Scalar
from landbridge.ir.sizes import dense_nbytes
from landbridge.runtime.dims import Size
from landbridge.runtime.dtypes import holder, is_packed
from landbridge.runtime.plan import Buffer, Segment

_FUNCTION_OF_OPERATOR = {"//": "lb_floordiv", "%": "lb_floormod", "max": "lb_max", "min": "lb_min"}


@dataclass(frozen=True)
class SegmentSource:
    """What one function is made from.

    Attributes:
        segment: its name, buffers and dimensions.
        buffers: the plan's, of which ``segment`` names some.
        calls: the kernels in order.
        buffer_of: for each value the index of its buffer.
    """

    segment: Segment
    buffers: Sequence[Buffer]
    calls: Sequence[KernelCall]
    buffer_of: dict[int, int]


def emit_segments(sources: Sequence[SegmentSource], symbols: Mapping[str, str]) -> str:
    """Return the text of the C file.

    Args:
        symbols: for each kernel the function that it is.
    """
    called = sorted({symbols[call.kernel] for source in sources for call in source.calls})
    declarations = [f"LbKernel {symbol};" for symbol in called]
    functions = [_segment(number, source, symbols) for number, source in enumerate(sources)]
    return "\n".join(['#include "support.h"', "", *declarations, "", *functions])


class _Table:
    """Sizes that a function computes, each once.

    Attributes:
        sizes: as C expressions.
    """

    def __init__(self, dims: dict[str, str]) -> None:
        self.dims = dims
        self.sizes: list[str] = []
        self.found: dict[tuple[str, ...], int] = {}

    def index(self, sizes: Sequence[Size]) -> int:
        """Return where ``sizes`` stand, one after the other."""
        texts = tuple(_c_expression(size, self.dims) for size in sizes)
        if texts not in self.found:
            self.found[texts] = len(self.sizes)
            self.sizes.extend(texts)
        return self.found[texts]

    def text(self, name: str) -> str:
        """Return the C array of this name."""
        storage = "static const" if all(re.fullmatch(r"\d+", size) for size in self.sizes) else "const"
        return f"  {storage} int64_t {name}[] = {{{', '.join(self.sizes) or '0'}}};"


def _segment(number: int, source: SegmentSource, symbols: Mapping[str, str]) -> str:
    segment = source.segment
    position = {buffer: index for index, buffer in enumerate(segment.buffers)}
    dims = {name: f"dims[{index}]" for index, name in enumerate(segment.dims)}
    extents, scalars = _Table(dims), _Table(dims)
    tensors = [_tensor(source.buffers[buffer], extents) for buffer in segment.buffers]
    steps: list[str] = []
    arguments: list[int] = []
    for call in source.calls:
        steps.append(f'{{{symbols[call.kernel]}, "{call.kernel}", {len(arguments)}, {len(call.packed)}}}')
        for argument in call.packed:
            if isinstance(argument, Scalar):
                arguments.append(-1 - scalars.index([argument.size]))
            else:
                arguments.append(position[source.buffer_of[argument]])
    lines = [
        *_array(f"static const LbTensor tensors_{number}[]", tensors),
        *_array(f"static const LbStep steps_{number}[]", steps),
        *_array(
            f"static const int32_t arguments_{number}[]", [", ".join(map(str, arguments[i : i + 16])) for i in range(0, len(arguments), 16)]
        ),
        f"LB_EXPORT int {segment.symbol}(void **buffers, const int64_t *dims) {{",
        "  (void)dims;",
        f"  static const LbSegment segment = {{tensors_{number}, {len(tensors)}, steps_{number}, {len(steps)}, arguments_{number}}};",
        extents.text("extents"),
        scalars.text("scalars"),
        "  return lb_run(&segment, buffers, extents, scalars);",
        "}",
        "",
    ]
    return "\n".join(lines)


def _array(declaration: str, items: Sequence[str]) -> list[str]:
    return [f"{declaration} = {{", *(f"  {item}," for item in items), "};"]


def _tensor(buffer: Buffer, extents: _Table) -> str:
    """Return the descriptor of a buffer: of an element type that kernels do not compute with they see the bytes, packed ones in one row."""
    dtype = tvm.DataType(str(holder(buffer.dtype)))
    shape = [dense_nbytes(buffer.dtype, buffer.shape)] if is_packed(buffer.dtype) else buffer.shape
    return f"{{{len(shape)}, {{{int(dtype.type_code)}, {int(dtype.bits)}, 1}}, {extents.index(shape)}}}"


def _c_expression(size: Size, dims: dict[str, str]) -> str:
    if isinstance(size, int):
        return f"{size}"
    if isinstance(size, str):
        return dims[size]
    operator, left, right = size
    left_text, right_text = _c_expression(left, dims), _c_expression(right, dims)
    if operator in _FUNCTION_OF_OPERATOR:
        return f"{_FUNCTION_OF_OPERATOR[operator]}({left_text}, {right_text})"
    return f"({left_text} {operator} {right_text})"
