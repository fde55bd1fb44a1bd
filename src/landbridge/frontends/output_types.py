"""The types of what an offline model gives, from its signature and what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvm import relax, tirx

from landbridge.ir.gear_extents import follows
from landbridge.runtime.errors import SignatureError
from landbridge.runtime.signature import Signature


def output_types(signature: Signature, arguments: Sequence[Any], *, at: str) -> list[Any]:
    """Return the Relax types of an offline model's outputs when it is called on ``arguments``.

    Named dimensions take the extents that the arguments have. Mismatches are left to the signature check, which reports them
    all, as long as the shapes of the outputs are known. What only the data will tell is a dimension that
    nothing of the program's inputs has.

    Raises:
        SignatureError: a named dimension of an output is not that of any given input, and does not follow one.
    """
    extents: dict[str, Any] = {}
    for port, argument in zip(signature.inputs, arguments, strict=False):
        shape = argument.ty.shape.values if argument.ty.shape is not None else ()
        extents.update({dim: extent for dim, extent in zip(port.shape, shape, strict=False) if isinstance(dim, str)})
    types = []
    for index, port in enumerate(signature.outputs):
        shape = [_extent(signature, (index, axis), extents) for axis in range(len(port.shape))]
        if signature.open_outputs[index] and len(arguments) == len(signature.inputs):
            shape = [tirx.Var(f"{at}_{dim}", "int64") if extent is None else extent for dim, extent in zip(port.shape, shape, strict=True)]
        unknown = [dim for dim, extent in zip(port.shape, shape, strict=True) if extent is None]
        if unknown:
            given = f"the model takes {len(signature.inputs)} inputs, this call gives {len(arguments)}"
            replacing = "use `lb.replace`, where the value it gives has a shape already"
            raise SignatureError(
                f"output '{port.name}' has the dimension '{unknown[0]}', which no given input has",
                at=at,
                hint=replacing if len(signature.inputs) == len(arguments) else given,
                code="LB2108",
            )
        types.append(relax.TensorType(shape, port.dtype))
    return types


def _extent(signature: Signature, place: tuple[int, int], extents: Mapping[str, Any]) -> Any:
    """Return an extent of an output: it is fixed, or that of an input, or follows one in every gear; None where it is unknown."""
    output, axis = place
    dim = signature.outputs[output].shape[axis]
    if isinstance(dim, int) or dim in extents:
        return extents[dim] if isinstance(dim, str) else dim
    found = follows(signature, output, axis)
    if found is None or found.dimension not in extents:
        return None
    extent = extents[found.dimension]
    if isinstance(extent, int | tirx.IntImm):
        return found.of(int(extent))
    return tirx.floordiv(extent * found.factor + found.added, found.divisor)
