"""Whether one offline model can stand in the place of another: in a program, or in a plan that was made for the other.

Both must have the same ports; what they are called, and what their named dimensions are called, is not compared. A plan also has a
certain room beyond each batch, and sizes that are fixed in it, which the gears of the new model must do with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from landbridge.runtime import dtypes
from landbridge.runtime.dims import Size, evaluate, render_shape
from landbridge.runtime.errors import InputError
from landbridge.runtime.gears import Spread, gear_names, plan_gears, size_text, slack_rows, spread_of
from landbridge.runtime.plan import Extern, Plan
from landbridge.runtime.signature import Dim, Port, Signature

_EXTENTS = (1, 2, 3, 5, 8, 17, 64)
"""For these extents of the named dimensions the room in a plan is measured."""


def port_differences(old: Signature, new: Signature, *, same_vendor: bool = True) -> Iterator[str]:
    """Yield in what the ports of ``new`` are not those of ``old``.

    Names are labels; an extent that is fixed in ``old`` may be open in ``new``.

    Args:
        same_vendor: the preprocessing inside of the models (AIPP) is compared as well. A model of another vendor takes the same raw image.
    """
    bound: dict[str, Dim] = {}
    for kind, before, after in (("input", old.inputs, new.inputs), ("output", old.outputs, new.outputs)):
        if len(before) != len(after):
            yield f"{len(after)} {kind}s, expected {len(before)}"
            continue
        for index, (expected, found) in enumerate(zip(before, after, strict=True)):
            same = expected.dtype == found.dtype and _same_shape(expected, found, bound) and _same_layout(expected, found)
            if not same or (same_vendor and expected.aipp != found.aipp):
                yield f"{kind} {index} '{expected.name}' is {_told(found)}, expected {_told(expected)}"


def gear_kind_difference(old: Signature, new: Signature) -> Iterator[str]:
    """Yield that one has gears of a kind that the other does not have."""
    if (old.gears and old.gears.kind) != (new.gears and new.gears.kind):
        kinds = [f"{gears.kind} gears" if gears else "no gears" for gears in (new.gears, old.gears)]
        yield f"{kinds[0]}, expected {kinds[1]}"


def _same_shape(expected: Port, found: Port, bound: dict[str, Dim]) -> bool:
    """Return whether every tensor of the one is one of the other; ``bound`` has what the named dimensions of the latter are so far."""
    if len(expected.shape) != len(found.shape):
        return False
    pairs = zip(expected.shape, found.shape, strict=True)
    fits = [(bound.setdefault(mine, wanted) if isinstance(mine, str) else mine) == wanted for wanted, mine in pairs]
    return all(fits)


def _same_layout(expected: Port, found: Port) -> bool:
    return expected.layout == found.layout or "ND" in (expected.layout, found.layout)


def _told(port: Port) -> str:
    aipp = f" with {port.aipp.mode} AIPP from {port.aipp.source_format}" if port.aipp else ""
    return f"{port.dtype} {render_shape(port.shape)} {port.layout}{aipp}"


def misfits(plan: Plan, symbol: str, signature: Signature, options: Mapping[str, str]) -> Iterator[str]:
    """Yield what of the new gears the plan, or the sizes that are fixed in it, cannot do with."""
    gears = signature.gears
    if gears is None:
        return
    for step in plan.steps:
        if not isinstance(step, Extern) or step.model != symbol:
            continue
        sizes = _sizes(plan, step, signature)
        if gears.kind == "batch":
            batch = next(iter(sizes.values()), "")
            yield from _batch_misfits(plan, step, signature, spread_of(options), batch)
            continue
        chosen = tuple(sizes.get(name, name) for name in gear_names(signature))
        if all(isinstance(size, int) for size in chosen) and chosen not in gears.choices:
            choices = ", ".join(map(size_text, gears.choices))
            yield f"it is called with {size_text(chosen)}, which is none of the {gears.kind} gears {choices}"


def _sizes(plan: Plan, step: Extern, signature: Signature) -> dict[str, Size]:
    """Return what the named dimensions of the signature are in a call."""
    found: dict[str, Size] = {}
    for index, port in zip(step.inputs, signature.inputs, strict=False):
        for extent, size in zip(port.shape, plan.buffers[index].shape, strict=False):
            if isinstance(extent, str):
                found.setdefault(extent, size)
    return found


def _batch_misfits(plan: Plan, step: Extern, signature: Signature, spread: Spread, batch: Size) -> Iterator[str]:
    batches = signature.gears.batches if signature.gears else ()
    if isinstance(batch, int):
        try:
            plan_gears(batch, batches, spread)
        except InputError as error:
            yield error.message
    ports = zip((*step.inputs, *step.outputs), (*signature.inputs, *signature.outputs), strict=False)
    needed = slack_rows(batches, spread)
    for index, port in ports:
        room = _room(plan, index) if port.shape and isinstance(port.shape[0], str) else needed
        if room < needed:
            listed = ", ".join(map(str, batches))
            yield f"batch gears {listed} need room for {needed} rows beyond the batch, '{plan.buffers[index].name}' has room for {room}"


def _room(plan: Plan, index: int) -> int:
    """Return how many rows beyond its tensor a buffer has room for."""
    buffer, found = plan.buffers[index], []
    for extent in _EXTENTS:
        dims = dict.fromkeys(plan.dims, extent)
        shape = [evaluate(size, dims) for size in buffer.shape]
        row = dtypes.nbytes_of(buffer.dtype, (1, *shape[1:]))
        if row:
            found.append(evaluate(buffer.nbytes, dims) // row - shape[0])
    return min(found, default=0)
