"""Give every tensor its place in its device's arena.

Tensors that do not live at the same time share memory. Those of known size are placed one by one, each into the smallest gap that
takes it: the largest first, then, while the arena is larger than what lives at its fullest moment, in other orders, in each of which
those that lay beyond that go earlier. A tensor whose parts begin to live one by one is placed as a whole, but others may lie where a part
does not live yet. Those whose size depends on named dimensions share *slots*, each as large as its largest tensor, which are right for
every value of the dimensions. Places are multiples of `ALIGNMENT`.

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
    """A tensor that wants a place, or a part of one.

    Attributes:
        nbytes: how many bytes.
        first: the moment it is first written.
        last: the last moment it is read; ``first`` at the earliest.
        users: the steps that touch it, a bit each, where steps may run at the same time.
        ended: the steps that have certainly ended, or got to the moment ``first``, when it is written; the same bits.
        offset: where the part begins in its tensor, a multiple of `ALIGNMENT`; 0 for a whole one.
    """

    nbytes: Size
    first: int
    last: int
    users: int = 0
    ended: int = 0
    offset: int = 0

    def meets(self, other: Lifetime) -> bool:
        """Return whether both live at some moment, or may do so where steps run at the same time."""
        if self.first <= other.last and other.first <= self.last:
            return True
        earlier, later = (self, other) if self.first < other.first else (other, self)
        return earlier.users & ~later.ended != 0


Tensor = Sequence[Lifetime]
"""The parts of a tensor; one where all of it lives at the same time, which is so where its size is not known."""


def plan_arena(tensors: Sequence[Tensor]) -> tuple[tuple[Size, ...], Size]:
    """Return the offset of each tensor, in order, and the size of the arena, in bytes."""
    offsets: dict[int, Size] = {}
    known = [index for index, parts in enumerate(tensors) if all(isinstance(part.nbytes, int) for part in parts)]
    total = _place_known([tensors[index] for index in known], known, offsets)
    slots = _share_slots(tensors, [index for index in range(len(tensors)) if index not in offsets])
    before: list[Size] = [total]
    for slot in slots:
        offset = dims.total(before)
        offsets.update(dict.fromkeys(slot.members, offset))
        before.append(_aligned(dims.largest(part.nbytes for index in slot.members for part in tensors[index])))
    return tuple(offsets[index] for index in range(len(tensors))), dims.total(before)


class _Known:
    """Tensors of known size.

    Attributes:
        parts: those of all tensors, one tensor after the other.
        spans: for each part where it begins and ends in its tensor, in whole pieces of `ALIGNMENT`.
        nbytes: for each part how many bytes these are.
        parts_of: for each tensor its parts.
        sizes: of the tensors.
        neighbours: for each part those of other tensors that it meets.
        fullest: bytes that live at the moment when most do, or those of the largest tensor: no arena is smaller.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.parts = [part for parts in tensors for part in parts]
        self.spans = [(part.offset, part.offset + -(-int(part.nbytes) // ALIGNMENT) * ALIGNMENT) for part in self.parts]
        self.nbytes = [end - start for start, end in self.spans]
        numbers = iter(range(len(self.parts)))
        self.parts_of = [[next(numbers) for _ in parts] for parts in tensors]
        self.sizes = [max(self.spans[part][1] for part in parts) for parts in self.parts_of]
        self.neighbours = _neighbours(self.parts, [index for index, parts in enumerate(tensors) for _ in parts])
        self.fullest = max(_fullest(self.parts, self.nbytes), *self.sizes, 0)

    def orders(self) -> tuple[list[int], list[int]]:
        """Return the tensors, the largest first, and those first that take most memory for the longest time."""
        first = [min(self.parts[part].first for part in parts) for parts in self.parts_of]
        by_size = sorted(range(len(self.sizes)), key=lambda i: (-self.sizes[i], first[i], i))
        return by_size, sorted(by_size, key=lambda i: -sum(map(self.area, self.parts_of[i])))

    def area(self, part: int) -> int:
        """Return the bytes of a part times the moments that it lives."""
        return self.nbytes[part] * (self.parts[part].last - self.parts[part].first + 1)

    def place(self, order: Sequence[int]) -> list[int]:
        """Return the place of each tensor when they are placed in this order."""
        places = [-1] * len(self.sizes)
        begins = [-1] * len(self.parts)
        for index in order:
            taken: list[tuple[int, int]] = []
            for part in self.parts_of[index]:
                start, end = self.spans[part]
                around = ((begin, self.nbytes[other]) for other in self.neighbours[part] if (begin := begins[other]) >= 0)
                taken += [(begin - end, begin + nbytes - start) for begin, nbytes in around]
            places[index] = _tightest(sorted(taken))
            for part in self.parts_of[index]:
                begins[part] = places[index] + self.spans[part][0]
        return places

    def end(self, places: Sequence[int]) -> int:
        """Return the size of an arena with the tensors at these places."""
        return max((place + size for place, size in zip(places, self.sizes, strict=True)), default=0)

    def beyond(self, places: Sequence[int]) -> set[int]:
        """Return the tensors that end behind the smallest arena there could be."""
        return {index for index, place in enumerate(places) if place + self.sizes[index] > self.fullest}


def _place_known(tensors: Sequence[Tensor], indices: Sequence[int], offsets: dict[int, Size]) -> int:
    """Place the tensors of known size; return the size of what they take."""
    known = _Known(tensors)
    orders = known.orders()
    best = known.place(orders[0])
    rounds = min(_ROUNDS, _MOST_PAIRS // max(sum(map(len, known.neighbours)), 1))
    for start in orders:
        order = start
        for _ in range(rounds):
            if known.end(best) <= known.fullest:
                break
            places = known.place(order)
            best = min(best, places, key=known.end)
            order = _earlier(order, known.beyond(places))
    offsets.update(zip(indices, best, strict=True))
    return known.end(best)


def _neighbours(lifetimes: Sequence[Lifetime], owners: Sequence[int]) -> list[list[int]]:
    """Return for each part those of other tensors that it meets."""
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
            if owners[other] != owners[index]:
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


def _earlier(order: Sequence[int], beyond: Collection[int]) -> list[int]:
    """Return an order in which those that lay ``beyond`` come half as late."""
    ranks = {index: (rank / 2 if index in beyond else rank, index not in beyond) for rank, index in enumerate(order)}
    return sorted(order, key=ranks.__getitem__)


def _tightest(taken: Sequence[tuple[int, int]]) -> int:
    """Return the place strictly inside none of the ``taken`` ranges that has the least room to move; behind them all if nowhere else."""
    best, room, end_so_far = -1, 0, 0
    for start, end in taken:
        if start >= end_so_far and (best < 0 or start - end_so_far < room):
            best, room = end_so_far, start - end_so_far
        end_so_far = max(end_so_far, end)
    return end_so_far if best < 0 else best


@dataclass
class _Slot:
    members: list[int] = field(default_factory=list)


def _share_slots(tensors: Sequence[Tensor], indices: Sequence[int]) -> list[_Slot]:
    def sampled(index: int) -> int:
        nbytes = dims.largest(part.nbytes for part in tensors[index])
        return dims.evaluate(nbytes, dict.fromkeys(dims.names(nbytes), _SAMPLE))

    slots: list[_Slot] = []
    for index in sorted(indices, key=lambda i: (-sampled(i), tensors[i][0].first, i)):
        free = (slot for slot in slots if not any(_meet(tensors[index], tensors[member]) for member in slot.members))
        slot = next(free, None)
        if slot is None:
            slot = _Slot()
            slots.append(slot)
        slot.members.append(index)
    return slots


def _meet(one: Tensor, other: Tensor) -> bool:
    return any(part.meets(another) for part in one for another in other)


def _aligned(size: Size) -> Size:
    """Return ``size`` rounded up to a multiple of `ALIGNMENT`."""
    if dims.factored(size)[0] % ALIGNMENT == 0:
        return size
    return ["*", ["//", ["+", size, ALIGNMENT - 1], ALIGNMENT], ALIGNMENT]
