"""Legalize gathers and scatters so that they stay inside their tensors, whatever the indices are.

TVM's own kernels trust their indices: one wrong number in the input would read or overwrite memory of something else. Here an
index outside of its axis means the nearest end of it: wrong data gives wrong numbers, and nothing worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import relax, te, tirx, topi

from landbridge.codegen.arg_extremes import ARG_EXTREMES
from landbridge.codegen.bfloat16 import BFLOAT16_CASTS
from landbridge.codegen.centred_variances import CENTRED_VARIANCES
from landbridge.codegen.extremes import EXTREMES
from landbridge.codegen.wide_sums import WIDE_SUMS

Legalization = Callable[[Any, Any], Any]
"""From a block builder and a call to what the call becomes."""


_INJECTIVE = 2
"""What TVM's fusion calls an element-wise step, which may become one kernel with such steps before and after it."""


def _bounded(indices: Any, extents: Sequence[Any], *, signed: bool) -> Any:
    """Return ``indices`` with each inside of its axis.

    Args:
        extents: of the axis; where there are several, the last axis of ``indices`` tells them apart.
        signed: an index may also count from the end, down to minus the extent.
    """
    dtype = indices.dtype

    def bounded(*position: Any) -> Any:
        extent = extents[-1]
        for number in reversed(range(len(extents) - 1)):
            extent = tirx.Select(position[-1] == number, extents[number], extent)
        extent = tirx.Cast(dtype, extent)
        low = -extent if signed else tirx.const(0, dtype)
        return tirx.max(tirx.min(indices[position], extent - tirx.const(1, dtype)), low)

    return te.compute(indices.shape, bounded, name="bounded")


def _take(builder: Any, call: Any) -> Any:
    mode = "clip" if call.attrs.mode == "fast" else call.attrs.mode
    attributes = {"op_pattern": _INJECTIVE}  # TVM takes what reads by a table for opaque
    return builder.call_te(topi.take, call.args[0], call.args[1], call.attrs.axis, mode=mode, primfunc_attrs=attributes)


def _gather_elements(builder: Any, call: Any) -> Any:
    axis = int(call.attrs.axis)

    def gather_elements(data: Any, indices: Any) -> Any:
        return topi.gather(data, axis, _bounded(indices, [data.shape[axis]], signed=False))

    return builder.call_te(gather_elements, call.args[0], call.args[1])


def _gather_nd(builder: Any, call: Any) -> Any:
    batch_dims = int(call.attrs.batch_dims)

    def gather_nd(data: Any, indices: Any) -> Any:
        extents = data.shape[batch_dims : batch_dims + int(indices.shape[-1])]
        last_first = _last_axis_first(_bounded(indices, extents, signed=False))
        return topi.gather_nd(data, last_first, batch_dims)

    return builder.call_te(gather_nd, call.args[0], call.args[1])


def _scatter_elements(builder: Any, call: Any) -> Any:
    axis, reduction = int(call.attrs.axis), call.attrs.reduction

    def scatter_elements(data: Any, indices: Any, updates: Any) -> Any:
        return topi.scatter_elements(data, _bounded(indices, [data.shape[axis]], signed=True), updates, axis, reduction)

    return builder.call_te(scatter_elements, *call.args)


def _scatter_nd(builder: Any, call: Any) -> Any:
    reduction = call.attrs.reduction

    def scatter_nd(data: Any, indices: Any, updates: Any) -> Any:
        extents = data.shape[: int(indices.shape[-1])]
        return topi.scatter_nd(data, _last_axis_first(_bounded(indices, extents, signed=False)), updates, reduction)

    return builder.call_te(scatter_nd, *call.args)


def _last_axis_first(indices: Any) -> Any:
    axes = list(range(len(indices.shape)))
    return topi.transpose(indices, [axes[-1], *axes[:-1]])


BOUNDED: dict[str, Legalization] = {
    "relax.take": _take,
    "relax.gather_elements": _gather_elements,
    "relax.gather_nd": _gather_nd,
    "relax.scatter_elements": _scatter_elements,
    "relax.scatter_nd": _scatter_nd,
}
"""For `relax.transform.LegalizeOps`."""


_LEGALIZATIONS = {**BOUNDED, **ARG_EXTREMES, **EXTREMES, **WIDE_SUMS, **CENTRED_VARIANCES, **BFLOAT16_CASTS}


def legalize_ops(skip: Sequence[str]) -> Any:
    """Return the pass that turns operators into kernels, but for the ``skip`` ones."""
    return relax.transform.LegalizeOps(customize_legalize_map=_LEGALIZATIONS, skip_ops=list(skip))
