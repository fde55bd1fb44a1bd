"""Write the C file with one function a segment.

A function fills descriptors for its buffers and calls its kernels one after the other. The arguments of kernels were checked
by the compiler that made both; what a kernel still checks by itself comes back as an error with a text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import tvm

from landbridge.codegen.kernel_calls import KernelCall, Scalar
from landbridge.runtime.dims import Size
from landbridge.runtime.plan import Buffer, Segment

KERNEL_PREFIX = "__tvm_ffi_"
"""What TVM puts before the name of a function in its calling convention."""

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


def emit_segments(sources: Sequence[SegmentSource]) -> str:
    """Return the text of the C file."""
    kernels = sorted({call.kernel for source in sources for call in source.calls})
    declarations = [f"LbKernel {KERNEL_PREFIX}{kernel};" for kernel in kernels]
    functions = [_function(source) for source in sources]
    return "\n".join(['#include "support.h"', "", *declarations, "", *functions])


def _function(source: SegmentSource) -> str:
    segment = source.segment
    position = {buffer: index for index, buffer in enumerate(segment.buffers)}
    dims = {name: f"d{index}" for index, name in enumerate(segment.dims)}
    lines = [f"LB_EXPORT int {segment.symbol}(void **buffers, const int64_t *dims) {{", "  (void)dims;"]
    lines += [f"  const int64_t {variable} = dims[{index}];{_comment(name)}" for index, (name, variable) in enumerate(dims.items())]
    for index, buffer in enumerate(segment.buffers):
        lines += _descriptor(index, source.buffers[buffer], dims)
    for call in source.calls:
        arguments = [
            f"{{LB_INT, 0, {{.v_int = {_c_expression(argument.size, dims)}}}}}"
            if isinstance(argument, Scalar)
            else f"{{LB_TENSOR, 0, {{.v_ptr = &t{position[source.buffer_of[argument]]}}}}}"
            for argument in call.packed
        ]
        lines += [
            "  {",
            f"    const LbAny args[] = {{{', '.join(arguments)}}};",
            f"    LB_CALL({KERNEL_PREFIX}{call.kernel}, args);",
            "  }",
        ]
    return "\n".join([*lines, "  return 0;", "}", ""])


def _comment(name: str) -> str:
    return f" /* {name} */" if re.fullmatch(r"\w+", name) else ""


def _descriptor(index: int, buffer: Buffer, dims: dict[str, str]) -> list[str]:
    extents = ", ".join(_c_expression(size, dims) for size in buffer.shape) or "1"
    storage = "static " if all(isinstance(size, int) for size in buffer.shape) else ""
    dtype = tvm.DataType(buffer.dtype)
    return [
        f"  {storage}int64_t s{index}[] = {{{extents}}};",
        f"  DLTensor t{index} = {{buffers[{index}], {{1, 0}}, {len(buffer.shape)}, "
        f"{{{int(dtype.type_code)}, {int(dtype.bits)}, 1}}, s{index}, 0, 0}};",
    ]


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
