"""What can be said of extents that are numbers or expressions over named dimensions.

A dimension may be 0. Where a proof needs more, it may take for granted that none is, and that the windows of convolutions and pools fit
in what they are moved over. What it took for granted of a dimension is noted (`Facts.taken`), becomes a range in the program
(`landbridge.ir.program.RANGES`), and a session refuses other extents.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tvm import sym, tirx

_LARGEST = 2**31
"""More than any extent."""


@dataclass
class Facts:
    """What may be taken for granted of the dimensions of a graph.

    Attributes:
        least: by name the least extent of each dimension, as far as operators tell that cannot give nothing; 1 for all others.
        most: by name the largest extent of dimensions that have one, whatever a proof needs.
        taken: what proofs used of ``least``.
    """

    least: dict[str, int] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)

    def learn(self, extent: Any, low: int = 1) -> None:
        """Note that an extent is at least ``low``, as far as that says something of one dimension."""
        if isinstance(extent, tirx.Var):
            self.least[str(extent.name)] = max(self.least.get(str(extent.name), 1), low)
        elif isinstance(extent, tirx.Add) and isinstance(extent.b, tirx.IntImm):
            self.learn(extent.a, low - int(extent.b))
        elif isinstance(extent, tirx.Sub) and isinstance(extent.b, tirx.IntImm):
            self.learn(extent.a, low + int(extent.b))
        elif isinstance(extent, tirx.FloorDiv) and isinstance(extent.b, tirx.IntImm) and int(extent.b) > 0:
            self.learn(extent.a, low * int(extent.b))
        elif isinstance(extent, tirx.Mul) and isinstance(extent.b, tirx.IntImm) and int(extent.b) > 0:
            self.learn(extent.a, -(-low // int(extent.b)))


_CURRENT = [Facts()]
"""The facts of the graph that is being imported, on top; one graph at a time is (`landbridge.ir.one_at_a_time`)."""


@contextlib.contextmanager
def facts(of_graph: Facts) -> Iterator[None]:
    """Let proofs use the facts of a graph."""
    _CURRENT.append(of_graph)
    try:
        yield
    finally:
        _CURRENT.pop()


def simplified(extent: Any) -> Any:
    """Return an extent as an ``int`` where it is known, else as short as it gets."""
    if isinstance(extent, int):
        return extent
    found = _analyzer(extent, least={}).simplify(extent)
    return int(found) if isinstance(found, tirx.IntImm) else found


def is_at_most(left: Any, right: Any) -> bool:
    """Return whether an extent is proven to be at most another one."""
    if isinstance(left, int) and isinstance(right, int):
        return left <= right
    return _proven((left, right), lambda analyzer: analyzer.can_prove(left <= right))


def is_equal(left: Any, right: Any) -> bool:
    """Return whether extents are proven to be equal."""
    if isinstance(left, int) and isinstance(right, int):
        return left == right
    return _proven((left, right), lambda analyzer: analyzer.can_prove_equal(_expr(left), _expr(right)))


def is_negative(extent: Any) -> bool | None:
    """Return whether a number is below 0; None where that depends on the dimensions."""
    if is_at_most(0, extent):
        return False
    return True if is_at_most(extent, -1) else None


def at_least(extent: Any, low: Any) -> Any:
    """Return the greater of two extents."""
    if is_at_most(low, extent):
        return extent
    return low if is_at_most(extent, low) else simplified(tirx.max(extent, low))


def at_most(extent: Any, high: Any) -> Any:
    """Return the smaller of two extents."""
    if is_at_most(extent, high):
        return extent
    return high if is_at_most(high, extent) else simplified(tirx.min(extent, high))


def terms(extent: Any) -> int:
    """Return how long an expression is: of equal extents the shortest is to be kept."""
    return 0 if isinstance(extent, int) else len(str(extent))


def _proven(extents: tuple[Any, ...], prove: Callable[[Any], Any]) -> bool:
    """Return whether something can be proven of extents, and note what had to be taken for granted."""
    known = _CURRENT[-1]
    names = {str(variable.name) for extent in extents for variable in _variables(extent)}
    for least in ({}, dict.fromkeys(names, 1), {name: known.least.get(name, 1) for name in names}):
        if prove(_analyzer(*extents, least=least)):
            known.taken.update({name: max(low, known.taken.get(name, 0)) for name, low in least.items()})
            return True
    return False


def _expr(extent: Any) -> Any:
    return tirx.IntImm("int64", extent) if isinstance(extent, int) else extent


def _variables(extent: Any) -> list[Any]:
    return [] if isinstance(extent, int) else list(tirx.analysis.undefined_vars(extent))


def _analyzer(*extents: Any, least: dict[str, int]) -> Any:
    """Return what knows the ranges of the dimensions in some extents."""
    analyzer = sym.Analyzer()
    for extent in extents:
        for variable in _variables(extent):
            name = str(variable.name)
            analyzer.update(variable, sym.ConstIntBound(least.get(name, 0), _CURRENT[-1].most.get(name, _LARGEST)))
    return analyzer
