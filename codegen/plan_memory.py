"""Give every tensor its place in its device's arena.

Tensors that do not live at the same time share memory. Those of known size are placed one by one, each into the smallest gap that
takes it: the largest first, then, while the arena is larger than what lives at its fullest moment, in other orders, in each of which
those that lay beyond that go earlier. Those whose size depends on named dimensions share *slots*, each as
large as its largest tensor, which are right for every value of the dimensions. Places are multiples of `ALIGNMENT`.

Sources: greedy by size, Y. Pisarchyk and J. Lee, "Efficient Memory Management for Deep Neural Net Inference", MLSys 2020,
https://arxiv.org/abs/2001.03288; better orders, D. Joslin and D. Clements, "Squeaky Wheel Optimization", JAIR 10, 1999,
https://arxiv.org/abs/1105.5454
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from landbridge.runtime import dims
from landbridge.runtime.dims import Size

ALIGNMENT = 64
"""What vectorised kernels may count on, in bytes."""

_ROUNDS = 32
_MOST_PAIRS = 4_000_000
"""How many orders are tried at most, and how many pairs of tensors are looked at for it: about two seconds."""

_SAMPLE = 16
"""The extent of every named dimension when symbolic sizes are compared. It decides who shares with whom, not what is right."""


@dataclass(frozen=True)
class Lifetime:
    """A tensor that wants a place.

    Attributes:
        nbytes: how many bytes.
        first: the moment it is first written.
        last: the last moment it is read; ``first`` at the earliest.
        users: the steps that touch it, a bit each, where steps may run at the same time.
        ended: the steps that have certainly ended, or got to the moment ``first``, when it is written; the same bits.
    """

    nbytes: Size
    first: int
    last: int
    users: int = 0
    ended: int = 0

    def meets(self, other: Lifetime) -> bool:
        """Return whether both live at some moment, or may do so where steps run at the same time."""
        if self.first <= other.last and other.first <= self.last:
            return True
        earlier, later = (self, other) if self.first < other.first else (other, self)
        return earlier.users & ~later.ended != 0


def plan_arena(lifetimes: Sequence[Lifetime]) -> tuple[tuple[Size, ...], Size]:
    """Return the offset of each tensor, in order, and the size of the arena, in bytes."""
    offsets: dict[int, Size] = {}
    known = [index for index, lifetime in enumerate(lifetimes) if isinstance(lifetime.nbytes, int)]
    total = _place_known(lifetimes, known, offsets)
    slots = _share_slots(lifetimes, [index for index in range(len(lifetimes)) if index not in offsets])
    before: list[Size] = [total]
    for slot in slots:
        offset = dims.total(before)
        offsets.update(dict.fromkeys(slot.members, offset))
        before.append(_aligned(dims.largest(lifetimes[index].nbytes for index in slot.members)))
    return tuple(offsets[index] for index in range(len(lifetimes))), dims.total(before)


def _place_known(lifetimes: Sequence[Lifetime], indices: Sequence[int], offsets: dict[int, Size]) -> int:
    """Place the tensors of known size; return the size of what they take."""
    known = [lifetimes[index] for index in indices]
    sizes = [-(-int(lifetime.nbytes) // ALIGNMENT) * ALIGNMENT for lifetime in known]
    neighbours = _neighbours(known)
    fullest = _fullest(known, sizes)
    by_size = sorted(range(len(known)), key=lambda i: (-sizes[i], known[i].first, i))
    by_area = sorted(by_size, key=lambda i: -sizes[i] * (known[i].last - known[i].first + 1))
    best = _place_in_order(by_size, sizes, neighbours)
    rounds = min(_ROUNDS, _MOST_PAIRS // max(sum(map(len, neighbours)), 1))
    for start in (by_size, by_area):
        order = start
        for _ in range(rounds):
            if _end(best, sizes) <= fullest:
                break
            places = _place_in_order(order, sizes, neighbours)
            best = min(best, places, key=lambda found: _end(found, sizes))
            order = _earlier(order, {i for i, place in enumerate(places) if place + sizes[i] > fullest})
    offsets.update(zip(indices, best, strict=True))
    return _end(best, sizes)


def _neighbours(lifetimes: Sequence[Lifetime]) -> list[list[int]]:
    """Return for each tensor those that it meets."""
    found: list[list[int]] = [[] for _ in lifetimes]
    living: list[int] = []
    dead: list[int] = []
    users_of_dead = 0
    for index in sorted(range(len(lifetimes)), key=lambda i: lifetimes[i].first):
        lifetime = lifetimes[index]
        ended = [other for other in living if lifetimes[other].last < lifetime.first]
        for other in ended:
            users_of_dead |= lifetimes[other].users
        dead += ended
        living = [other for other in living if lifetimes[other].last >= lifetime.first]
        late = (other for other in dead if lifetimes[other].meets(lifetime)) if users_of_dead & ~lifetime.ended else ()
        for other in (*living, *late):
            found[index].append(other)
            found[other].append(index)
        living.append(index)
    return found


def _fullest(lifetimes: Sequence[Lifetime], sizes: Sequence[int]) -> int:
    """Return how many bytes live at the moment when most do: no arena is smaller."""
    changes: dict[int, int] = {}
    for lifetime, size in zip(lifetimes, sizes, strict=True):
        changes[lifetime.first] = changes.get(lifetime.first, 0) + size
        changes[lifetime.last + 1] = changes.get(lifetime.last + 1, 0) - size
    return max(accumulate(changes[moment] for moment in sorted(changes)), default=0)


def _place_in_order(order: Sequence[int], sizes: Sequence[int], neighbours: Sequence[Sequence[int]]) -> list[int]:
    """Return the place of each tensor when they are placed in this order."""
    places = [-1] * len(sizes)
    for index in order:
        taken = sorted((places[other], places[other] + sizes[other]) for other in neighbours[index] if places[other] >= 0)
        places[index] = _smallest_gap(taken, sizes[index])
    return places


def _end(places: Sequence[int], sizes: Sequence[int]) -> int:
    return max((place + size for place, size in zip(places, sizes, strict=True)), default=0)


def _earlier(order: Sequence[int], beyond: Collection[int]) -> list[int]:
    """Return an order in which those that lay ``beyond`` come half as late."""
    ranks = {index: (rank / 2 if index in beyond else rank, index not in beyond) for rank, index in enumerate(order)}
    return sorted(order, key=ranks.__getitem__)


def _smallest_gap(taken: Sequence[tuple[int, int]], nbytes: int) -> int:
    """Return where ``nbytes`` fit between the ``taken`` ranges with the least left over; behind them all if nowhere."""
    best, waste, end_so_far = -1, 0, 0
    for start, end in taken:
        gap = start - end_so_far
        if gap >= nbytes and (best < 0 or gap - nbytes < waste):
            best, waste = end_so_far, gap - nbytes
        end_so_far = max(end_so_far, end)
    return end_so_far if best < 0 else best


@dataclass
class _Slot:
    members: list[int] = field(default_factory=list)


def _share_slots(lifetimes: Sequence[Lifetime], indices: Sequence[int]) -> list[_Slot]:
    def sampled(index: int) -> int:
        nbytes = lifetimes[index].nbytes
        return dims.evaluate(nbytes, dict.fromkeys(dims.names(nbytes), _SAMPLE))

    slots: list[_Slot] = []
    for index in sorted(indices, key=lambda i: (-sampled(i), lifetimes[i].first, i)):
        free = (slot for slot in slots if not any(lifetimes[index].meets(lifetimes[member]) for member in slot.members))
        slot = next(free, None)
        if slot is None:
            slot = _Slot()
            slots.append(slot)
        slot.members.append(index)
    return slots


def _aligned(size: Size) -> Size:
    """Return ``size`` rounded up to a multiple of `ALIGNMENT`."""
    if dims.factored(size)[0] % ALIGNMENT == 0:
        return size
    return ["*", ["//", ["+", size, ALIGNMENT - 1], ALIGNMENT], ALIGNMENT]
