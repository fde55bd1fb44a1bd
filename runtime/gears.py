"""The sizes ("gears") that a model was compiled for: how a batch is spread over them, and which other size is one of them.

A model with batch gears runs only at exactly these batches, so a call with another batch becomes one launch with rows that nobody asked
for, or several launches, or both. What is allowed is a `Spread`, the option ``gears`` of an offline model; among all that is allowed
a plan takes the fewest launches, then the fewest padded rows, then the larger gears first. Other gears (sizes of images, extents of any
dimensions) are taken as they are: nothing is split or padded, and a size that is none of them is refused with those nearest to it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast, get_args

from landbridge.runtime.dtypes import nbytes_of
from landbridge.runtime.errors import InputError, UsageError, did_you_mean
from landbridge.runtime.records import dataclass
from landbridge.runtime.signature import HEIGHT, WIDTH, Gears, Port, Signature

Spread = Literal["exact", "pad", "split+pad"]
"""``exact``: launches whose gears add up to the batch. ``pad``: one launch, of a gear that is larger where need be. ``split+pad``: any
number of launches, the last of which may be padded."""

OPTION = "gears"
"""The option of an offline model that chooses a `Spread`."""

MAX_BATCH = 1 << 20
"""Above this a batch is an error, not a table of that size."""

_LAUNCH = 1 << 40
"""What a launch costs in a table; a padded row costs 1, so that launches count first."""

_FAR = 1 << 62
"""Costs more than any plan: "unreachable" in a table."""

_tables: dict[tuple[tuple[int, ...], bool], list[int]] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class GearPlan:
    """How a batch is run.

    Attributes:
        batch: rows asked for.
        pieces: the gear of each launch, in order; all rows but the last `padded` are the caller's.
    """

    batch: int
    pieces: tuple[int, ...]

    @property
    def padded(self) -> int:
        """Rows of the last launch that nobody asked for."""
        return sum(self.pieces) - self.batch

    @property
    def text(self) -> str:
        """The plan as one reads it, such as ``20 -> 8+8+4, nothing padded``."""
        rows = {0: "nothing padded", 1: "1 row padded"}.get(self.padded, f"{self.padded} rows padded")
        return f"{self.batch} -> {'+'.join(map(str, self.pieces))}, {rows}"


def spread_of(options: Mapping[str, str]) -> Spread:
    """Return what the options of an offline model allow; ``exact`` where they say nothing.

    Raises:
        UsageError: they say something else than a `Spread`.
    """
    wanted, known = options.get(OPTION, "exact"), get_args(Spread)
    if wanted not in known:
        raise UsageError(f"option {OPTION} is '{wanted}', expected one of {', '.join(known)}", hint=did_you_mean(wanted, known))
    return cast(Spread, wanted)


def plan_gears(batch: int, gears: Iterable[int], spread: Spread = "exact", *, at: str = "") -> GearPlan:
    """Return the plan with the fewest launches, then the fewest padded rows, then the larger gears first.

    Args:
        batch: rows asked for.
        gears: the batches that the model can run; order and repetitions do not matter.
        spread: what is allowed.
        at: whose batch it is, for the error.

    Raises:
        InputError: nothing that is allowed gives ``batch``; it names the gears and the nearest batches that something does.

    Example:
        >>> plan_gears(20, (1, 2, 4, 8)).text
        '20 -> 8+8+4, nothing padded'
        >>> plan_gears(3, (4, 8), "pad").text
        '3 -> 4, 1 row padded'
    """
    choices = _choices(gears)
    if not 0 < batch <= MAX_BATCH:
        raise InputError(f"batch {batch}, expected 1 to {MAX_BATCH}", at=at, hint=_advice(batch, choices, spread), code="LB1208")
    if not _reachable(batch, choices, spread):
        listed = ", ".join(map(str, sorted(choices)))
        what = "is larger than every batch" if spread == "pad" else "is not a sum of the batches"
        text = f"batch {batch} {what} that this model was compiled for ({listed})"
        raise InputError(text, at=at, hint=_advice(batch, choices, spread), code="LB1208")
    if spread == "pad":
        return GearPlan(batch, (min(gear for gear in choices if gear >= batch),))
    costs = _costs(batch, choices, padding=spread == "split+pad")
    pieces: list[int] = []
    left = batch
    while left > 0:
        piece = next(gear for gear in choices if _cost(costs, left - gear) + _LAUNCH == costs[left])
        pieces.append(piece)
        left -= piece
    return GearPlan(batch, tuple(pieces))


def nearest_batches(batch: int, gears: Iterable[int], spread: Spread = "exact") -> tuple[int | None, int | None]:
    """Return the largest reachable batch below ``batch`` and the smallest above it; None where there is none."""
    choices = _choices(gears)
    if not choices or batch > MAX_BATCH:
        return None, None
    upto = max(batch, 0) + choices[0]
    below = next((n for n in range(batch - 1, 0, -1) if _reachable(n, choices, spread)), None)
    above = next((n for n in range(max(batch, 0) + 1, upto + 1) if _reachable(n, choices, spread)), None)
    return below, above


def slack_rows(gears: Iterable[int], spread: Spread) -> int:
    """Return how many rows beyond the batch a call may touch: the vendor reads and writes whole largest gears, the last one too."""
    choices = _choices(gears)
    if not choices:
        return 0
    return choices[0] - 1 if spread != "exact" else choices[0] - choices[-1]


def gear_names(signature: Signature) -> tuple[str, ...]:
    """Return the named dimensions whose extents the numbers of a gear are, in their order; () for a model without gears."""
    gears = signature.gears
    if gears is None or not gears.choices:
        return ()
    everywhere = [dim for port in signature.inputs for dim in port.shape if isinstance(dim, str)]
    distinct, width = dict.fromkeys(everywhere), len(gears.choices[0])
    for names in ((HEIGHT, WIDTH), tuple(f"dim{index}" for index in range(width))):
        if set(names) == set(distinct):
            return names  # as the Ascend reader names them, in whatever order the inputs have them
    return tuple(distinct) if len(distinct) == width else tuple(everywhere)


def check_size(gears: Gears, size: tuple[int, ...], *, at: str = "") -> None:
    """Check that ``size`` is one of the gears, which are not batches.

    Raises:
        InputError: it is none; the message names all of them and those nearest to it.
    """
    if size not in gears.choices:
        listed = ", ".join(map(size_text, gears.choices))
        text = f"size {size_text(size)} is none of those that this model was compiled for ({listed})"
        raise InputError(text, at=at, hint=size_advice(gears, size), code="LB1208")


def size_text(size: Iterable[Any]) -> str:
    """Return a gear as one writes it, such as ``224x320``."""
    return "x".join(map(str, size))


def size_advice(gears: Gears, size: tuple[int, ...]) -> str:
    """Return what to do about a size that is no gear: the two gears that differ least from it, all extents added up."""
    nearest = sorted(gears.choices, key=lambda choice: (sum(abs(a - b) for a, b in zip(choice, size, strict=False)), choice))[:2]
    return f"resize to {' or '.join(map(size_text, nearest))}, or compile the model with other sizes"


def reserved_nbytes(signature: Signature) -> tuple[int, ...]:
    """Return for each input, then for each output, the bytes that it has in the gear in which it is largest.

    The vendor writes as much, whatever gear is set. 0 for models without gears or with batch gears (see `slack_rows`), and where
    the signature does not tell.
    """
    gears = signature.gears
    if gears is None or gears.kind == "batch":
        return (0,) * (len(signature.inputs) + len(signature.outputs))
    names = gear_names(signature)
    known = [dict(zip(names, choice, strict=False)) for choice in gears.choices]
    found = [max(_port_nbytes(port, extents) for extents in known) for port in signature.inputs]
    for index, port in enumerate(signature.outputs):
        told = [nbytes_of(port.dtype, shapes[index]) for shapes in gears.output_shapes]
        found.append(max(told or [_port_nbytes(port, extents) for extents in known]))
    return tuple(found)


def _port_nbytes(port: Port, extents: Mapping[str, int]) -> int:
    shape = tuple(extents.get(dim, 0) if isinstance(dim, str) else dim for dim in port.shape)
    return nbytes_of(port.dtype, shape)


def _choices(gears: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted({gear for gear in gears if gear > 0}, reverse=True))


def _reachable(batch: int, choices: tuple[int, ...], spread: Spread) -> bool:
    if spread == "exact":
        return _costs(batch, choices, padding=False)[batch] < _FAR
    return bool(choices) and (spread == "split+pad" or batch <= choices[0])


def _advice(batch: int, choices: tuple[int, ...], spread: Spread) -> str:
    near = [str(n) for n in nearest_batches(batch, choices, spread) if n is not None]
    if not near:
        return "compile the model with other gears" if not choices else f"feed batches of {choices[0]}"
    other = "" if spread == "split+pad" else f", or allow padding with the option {OPTION}=split+pad"
    return f"feed a batch of {' or '.join(near)}{other}, or compile the model with other gears"


def _costs(batch: int, choices: tuple[int, ...], *, padding: bool) -> list[int]:
    """Return a table of at least ``batch + 1`` entries: the least cost of each batch; it is kept for the next call.

    With ``padding``, a batch below 0 is one whose rows are all there, and costs the rows that are too many.
    """
    with _lock:
        table = _tables.setdefault((choices, padding), [0])
        for n in range(len(table), batch + 1):
            found = min((_cost(table, n - gear) for gear in choices if padding or gear <= n), default=_FAR)
            table.append(min(found + _LAUNCH, _FAR))
        return table


def _cost(table: list[int], batch: int) -> int:
    return table[batch] if batch >= 0 else -batch
