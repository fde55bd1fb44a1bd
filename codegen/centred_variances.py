"""Legalize normalisation over groups and instances with the variance of centred numbers.

TVM's kernels subtract the square of the mean from the mean of squares, which leaves few right digits where the mean is large against the
deviation: of float32 pixels around 300 that vary by 1, the results differ by 0.08.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import te, tirx


def _group_norm(builder: Any, call: Any) -> Any:
    return _legalized(builder, call, int(call.attrs.num_groups))


def _instance_norm(builder: Any, call: Any) -> Any:
    return _legalized(builder, call, None)


def _legalized(builder: Any, call: Any, groups: int | None) -> Any:
    """Return the call of our kernel; of TVM's where the type is another than float32 or the axes are not all after the channels.

    Args:
        groups: how many share the channels; each channel is one of its own where None.
    """
    data, attrs = call.args[0], call.attrs
    rank = len(data.ty.shape)
    axes = sorted(int(axis) % rank for axis in attrs.axes)
    if str(data.ty.dtype) != "float32" or int(attrs.channel_axis) % rank != 1 or axes != list(range(2, rank)) or rank < 3:
        default: Callable[[Any, Any], Any] = tvm.ir.Op.get(str(call.op.name)).get_attr("FLegalize")
        return default(builder, call)
    has_scale, has_shift, epsilon = bool(attrs.scale), bool(attrs.center), float(attrs.epsilon)

    def normalized(data: Any, scale: Any, shift: Any) -> Any:
        batch, channels, *inner = data.shape
        count = channels if groups is None else tirx.const(groups, "int64")
        own = tirx.const(1, "int64") if groups is None else tirx.floordiv(channels, count)
        number: Any = own
        for extent in inner:
            number = number * extent
        number = number.astype("float32")

        def summed(name: str, term: Callable[[Any, Any, Any], Any]) -> Any:
            reduced = [te.reduce_axis((0, extent), name=f"k{i}") for i, extent in enumerate((own, *inner))]
            return te.compute(
                [batch, count],
                lambda n, g: te.sum(term(n, g, data(n, g * own + reduced[0], *reduced[1:])), axis=reduced),
                name=name,
            )

        total = summed("total", lambda n, g, x: x)
        mean = te.compute([batch, count], lambda n, g: total[n, g] / number, name="mean")
        squares = summed("squares", lambda n, g, x: (x - mean[n, g]) * (x - mean[n, g]))
        inverse = te.compute(
            [batch, count], lambda n, g: tirx.rsqrt(squares[n, g] / number + tirx.const(epsilon, "float32")), name="inverse"
        )

        def result(n: Any, c: Any, *at: Any) -> Any:
            group = tirx.floordiv(c, own)
            value = (data(n, c, *at) - mean[n, group]) * inverse[n, group]
            value = value * scale[c] if has_scale else value
            return value + shift[c] if has_shift else value

        return te.compute(data.shape, result, name="normalized")

    return builder.call_te(normalized, *call.args, primfunc_name_hint=str(call.op.name).rpartition(".")[2])


CENTRED_VARIANCES: dict[str, Callable[[Any, Any], Any]] = {
    "relax.nn.group_norm": _group_norm,
    "relax.nn.instance_norm": _instance_norm,
}
"""For `relax.transform.LegalizeOps`."""
