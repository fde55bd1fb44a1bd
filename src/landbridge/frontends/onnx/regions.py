"""Join operators that must run outside of native code into as few regions as possible.

A region is called like one operator: all its inputs first, then all its outputs. So no way may lead out of it and back into it.
`merge` joins neighbours only where that holds; `closure` says what must join when some operators cannot be apart.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass
class Edges:
    """Who uses what whom makes, among operators known by number in an order in which they can run.

    Attributes:
        after: for each operator those that use what it makes.
    """

    after: Mapping[int, Sequence[int]]

    @staticmethod
    def of(reads: Mapping[int, Iterable[str]], makes: Mapping[int, Iterable[str]]) -> Edges:
        """Return the edges between operators that read and make named values."""
        producer = {value: number for number, values in makes.items() for value in values}
        after: dict[int, dict[int, None]] = {number: {} for number in reads}
        for number, values in reads.items():
            for value in values:
                if value in producer and producer[value] != number:
                    after[producer[value]][number] = None
        return Edges({number: tuple(users) for number, users in after.items()})

    def before(self) -> dict[int, list[int]]:
        """Return for each operator those whose results it uses."""
        result: dict[int, list[int]] = {number: [] for number in self.after}
        for number, users in self.after.items():
            for user in users:
                result[user].append(number)
        return result


def closure(edges: Edges, members: Iterable[int]) -> list[int]:
    """Return the smallest set with ``members`` that no way leaves and enters again, in order."""
    chosen = set(members)
    below = _reach(edges.after, chosen)
    above = _reach(edges.before(), chosen)
    return sorted(chosen | (below & above))


def merge(
    edges: Edges, outside: Sequence[int], together: Iterable[Sequence[int]] = (), colours: Mapping[int, int] | None = None
) -> list[list[int]]:
    """Return the operators of ``outside`` joined into regions, each in order, the regions in the order of their first operator.

    Args:
        together: operators of ``outside`` that must be in one region; each such group is closed (`closure`).
        colours: operators of different colours stay apart otherwise; one that is not listed has the colour 0.
    """
    groups, colour = _Groups(edges, outside), colours or {}
    for members in together:
        for member in members[1:]:
            groups.join(members[0], member)
    for number in outside:
        for user in edges.after[number]:
            same = user in groups.leader and colour.get(number, 0) == colour.get(user, 0)
            if same and groups.find(number) != groups.find(user) and groups.may_join(number, user):
                groups.join(number, user)
    return groups.members()


class _Groups:
    """Disjoint sets of operators, seen as single ones; every other operator is one of its own."""

    def __init__(self, edges: Edges, outside: Sequence[int]) -> None:
        self._after = edges.after
        self.leader = {number: number for number in outside}
        self._members = {number: [number] for number in outside}

    def find(self, number: int) -> int:
        while self.leader.get(number, number) != number:
            number = self.leader[number]
        return number

    def join(self, left: int, right: int) -> None:
        left, right = sorted((self.find(left), self.find(right)))
        if left != right:
            self.leader[right] = left
            self._members[left] += self._members.pop(right)

    def members(self) -> list[list[int]]:
        return [sorted(group) for _, group in sorted(self._members.items())]

    def may_join(self, left: int, right: int) -> bool:
        """Return whether no way leads from one group to the other over a third."""
        left, right = self.find(left), self.find(right)
        return not self._way_over_others(left, right) and not self._way_over_others(right, left)

    def _way_over_others(self, source: int, destination: int) -> bool:
        seen = {source, destination}
        waiting = [group for group in self._next(source) if group not in seen]
        while waiting:
            group = waiting.pop()
            if group in seen:
                continue
            seen.add(group)
            following = self._next(group)
            if destination in following:
                return True
            waiting.extend(found for found in following if found not in seen)
        return False

    def _next(self, group: int) -> set[int]:
        return {self.find(user) for member in self._members.get(group, [group]) for user in self._after[member]}


def _reach(after: Mapping[int, Sequence[int]], start: Iterable[int]) -> set[int]:
    seen: set[int] = set()
    waiting = list(start)
    while waiting:
        for number in after[waiting.pop()]:
            if number not in seen:
                seen.add(number)
                waiting.append(number)
    return seen


def in_order(reads: Sequence[Iterable[str]], makes: Sequence[Iterable[str]], rank: Sequence[int]) -> list[int]:
    """Return the positions of operators in an order in which they can run, the ones of lowest ``rank`` first where it is free."""
    edges = Edges.of(dict(enumerate(reads)), dict(enumerate(makes)))
    missing = {number: len(before) for number, before in edges.before().items()}
    ready = [(rank[number], number) for number, count in missing.items() if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        _, number = heapq.heappop(ready)
        order.append(number)
        for user in edges.after[number]:
            missing[user] -= 1
            if missing[user] == 0:
                heapq.heappush(ready, (rank[user], user))
    return order
