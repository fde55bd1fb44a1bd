"""Split a batch over the batch sizes ("gears") that a model was compiled for.

A model with gears runs only at exactly these batches, so a call with another batch becomes several launches whose gears add
up to it. The split is exact (nothing is padded), takes the fewest launches there can be, and among these the larger gears
first.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from landbridge.runtime.errors import InputError

MAX_BATCH = 1 << 20
"""Above this a batch is an error, not a table of that size."""

_FAR = 1 << 30
"""More launches than any batch needs: "unreachable" in a table."""

_tables: dict[tuple[int, ...], list[int]] = {}
_lock = threading.Lock()


def split_batch(batch: int, gears: Iterable[int], *, at: str = "") -> tuple[int, ...]:
    """Return the gears whose sum is ``batch``, the fewest, larger ones first.

    Args:
        batch: rows asked for.
        gears: the batches that the model can run; order and repetitions do not matter.
        at: whose batch it is, for the error.

    Raises:
        InputError: no sum of gears is ``batch``; it names the gears and the nearest batches that one is.

    Example:
        >>> split_batch(20, (1, 2, 4, 8))
        (8, 8, 4)
        >>> split_batch(8, (6, 4))
        (4, 4)
    """
    choices = tuple(sorted({gear for gear in gears if gear > 0}, reverse=True))
    if not 0 < batch <= MAX_BATCH:
        raise InputError(f"batch {batch}, expected 1 to {MAX_BATCH}", at=at, hint=_advice(batch, choices))
    launches = _fewest_launches(batch, choices)
    if launches[batch] >= _FAR:
        text = f"batch {batch} is not a sum of the batches that this model was compiled for ({', '.join(map(str, sorted(choices)))})"
        raise InputError(text, at=at, hint=_advice(batch, choices))
    pieces = []
    while batch:
        piece = next(gear for gear in choices if gear <= batch and launches[batch - gear] == launches[batch] - 1)
        pieces.append(piece)
        batch -= piece
    return tuple(pieces)


def nearest_batches(batch: int, gears: Iterable[int]) -> tuple[int | None, int | None]:
    """Return the largest reachable batch below ``batch`` and the smallest above it; None where there is none (below)."""
    choices = tuple(sorted({gear for gear in gears if gear > 0}, reverse=True))
    if not choices or batch > MAX_BATCH:
        return None, None
    upto = max(batch, 0) + choices[0]
    launches = _fewest_launches(upto, choices)
    below = next((n for n in range(batch - 1, 0, -1) if launches[n] < _FAR), None)
    above = next((n for n in range(max(batch, 0) + 1, upto + 1) if launches[n] < _FAR), None)
    return below, above


def _advice(batch: int, choices: tuple[int, ...]) -> str:
    near = [str(n) for n in nearest_batches(batch, choices) if n is not None]
    if not near:
        return "compile the model with other gears" if not choices else f"feed batches of {choices[0]}"
    return f"feed a batch of {' or '.join(near)}, or compile the model with other gears"


def _fewest_launches(batch: int, choices: tuple[int, ...]) -> list[int]:
    """Return a table of at least ``batch + 1`` entries: how many launches each batch needs; it is kept for the next call."""
    with _lock:
        table = _tables.setdefault(choices, [0])
        for n in range(len(table), batch + 1):
            table.append(min((table[n - gear] + 1 for gear in choices if gear <= n), default=_FAR))
        return table
