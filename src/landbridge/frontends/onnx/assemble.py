"""Put the units of an imported graph together: what is not native joins into fallback regions, and all of it into an order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import relax

from landbridge.frontends.onnx.build import Build, Unit
from landbridge.frontends.onnx.fallback import build_region
from landbridge.frontends.onnx.graph import Node, between
from landbridge.frontends.onnx.regions import Edges, closure, in_order, merge
from landbridge.ir.body import Body
from landbridge.ir.devices import VDevices
from landbridge.ir.program import (
    EXTERNS,
    MODEL,
    NAMES,
    OPAQUE_TYPES,
    OUTPUTS,
    RANGES,
    SOURCES,
    UNLIMITED,
    ExternModel,
    Program,
    extern_entry,
)
from landbridge.runtime.device import CPU
from landbridge.runtime.errors import UnsupportedError
from landbridge.runtime.report import Fallback

ALIASES = "landbridge.aliases"
"""Module attribute: for each further name that a value has in the user's model, the identifier of its variable."""

REFUSED = "landbridge.refused"
"""Module attribute: by an output the operators that must not be native, with the reason, beside those that cannot be."""

PARTS = "landbridge.parts"
"""Module attribute: the symbols of fallback regions that only what the data will tell keeps from being native (`landbridge.parts`)."""

NATIVE_ONLY = "landbridge.native_only"
"""Module attribute: whether fallback regions are not allowed."""

Border = tuple[Sequence[str], Sequence[str]]
"""The inputs and outputs of a region, by the user's names."""


class Assembly:
    """The way from the units of a walk to a program."""

    def __init__(self, build: Build, borders: Sequence[Border] = ()) -> None:
        """Take what the walk made.

        Args:
            borders: no fallback region shall have operators on both sides of one of these.
        """
        self._build = build
        self._values = build.values
        self._graph = build.graph
        self._colours: dict[int, int] = {}
        for number, (inputs, outputs) in enumerate(borders):
            for index in between(build.graph, inputs, outputs).members:
                self._colours[index] = self._colours.get(index, 0) | 1 << number
        self._wanted = [build.values.canonical(name) for name in build.graph.outputs]
        self._units = _live(build.units, self._reads(build.units), self._wanted)

    def program(self, params: Sequence[Any], outputs: Sequence[Any], *, fallback: bool) -> Program:
        """Return the program.

        Raises:
            UnsupportedError: operators that cannot run, or that are not native where they must be; all of them named.
        """
        groups = self._groups()
        self._raise_problems(fallback)
        grouped = {number for group in groups for number in group}
        units = [unit for number, unit in enumerate(self._units) if number not in grouped]
        offline = [found for unit in units for found in unit.offline]
        externs: dict[str, ExternModel] = {found.symbol: found.model for found in offline}
        entries = {found.symbol: found.entry for found in offline}
        fallbacks: dict[str, Fallback] = {}
        parts = []
        for group in groups:
            unit, symbol, externs_entry, report = self._region(group, len(fallbacks))
            units.append(unit)
            externs[symbol], entries[symbol], fallbacks[symbol] = externs_entry, extern_entry(externs_entry, CPU), report
            members = [self._units[number] for number in group]
            parts += [symbol] if all(unit.late for unit in members) or (len(members) == 1 and members[0].control) else []
        order = in_order(self._reads(units), [unit.makes for unit in units], [unit.rank for unit in units])
        bindings = tuple(binding for number in order for binding in units[number].bindings)
        start = tvm.IRModule(self._build.functions.used(bindings))
        vdevices = VDevices()
        inputs = {param: relax.Var(param.name, vdevices.on(param.ty, CPU)) for param in params}
        module = Body(tuple(params), bindings, tuple(outputs)).renamed(inputs).write(start, vdevices)
        attributes = {
            EXTERNS: entries,
            NAMES: self._values.table.names,
            ALIASES: {name: str(self._values.variables[name].name) for name in self._values.alias},
            OUTPUTS: [[name, ""] for name in self._graph.outputs],
            SOURCES: {name: [unit.node.name, unit.node.type] for unit in units if unit.node is not None for name in unit.makes},
            OPAQUE_TYPES: {name: found.opaque for name, found in self._values.opaque.items()},
            MODEL: self._graph.title,
            REFUSED: dict(self._build.refused),
            NATIVE_ONLY: not fallback,
            PARTS: parts,
            RANGES: {dim: [least, UNLIMITED] for dim, least in self._values.facts.taken.items()},
        }
        module = module.with_attrs(attributes)
        return Program(module, externs, self._graph.model.SerializeToString(deterministic=True), fallbacks, made=module)

    def _region(self, group: Sequence[int], number: int) -> tuple[Unit, str, ExternModel, Fallback]:
        members = [self._units[member] for member in group]
        inside = set(group)
        others = {name for member, reads in enumerate(self._reads(self._units)) if member not in inside for name in reads}
        results = [
            name for name in dict.fromkeys(name for unit in members for name in unit.makes) if name in others or name in self._wanted
        ]
        symbol = self._build.symbols.identifier(f"fallback_{number}")
        made = {name for unit in members for name in unit.makes}
        reasons = dict.fromkeys(unit.reason for unit in members if self._values.canonical(unit.cause) not in made)
        nodes = [unit.node for unit in members if unit.node is not None]
        region = build_region(self._values, nodes, results, symbol, "; ".join(reasons))
        unit = Unit(members[0].rank, region.reads, tuple(results), list(region.bindings))
        return unit, symbol, region.model, region.report

    def _groups(self) -> list[list[int]]:
        """Return the fallback regions as positions in ``self._units``; units caught between parts of one become part of it."""
        units = self._units
        edges = Edges.of(dict(enumerate(self._reads(units))), {number: unit.makes for number, unit in enumerate(units)})
        together = [closure(edges, members) for members in self._inseparable(edges)]
        for members in together:
            for number in members:
                unit = units[number]
                if not unit.reason and unit.node is not None and not unit.offline:
                    unit.reason, unit.bindings = "it is between operators that must be together", []
        outside = [number for number, unit in enumerate(units) if unit.reason]
        colours = {number: self._colour(unit.node.index, unit) for number, unit in enumerate(units) if unit.node is not None}
        return merge(edges, outside, together, colours)

    def _colour(self, index: int, unit: Unit) -> int:
        """Return what a unit has in common with those that it may be in one region with."""
        kind = 2 + index if unit.control and not unit.late else int(unit.late)
        return self._colours.get(index, 0) * (2 + len(self._graph.nodes)) + kind

    def _inseparable(self, edges: Edges) -> list[list[int]]:
        """Return the groups of units that hand on values that cannot leave ONNX Runtime."""
        missing = [number for number, unit in enumerate(self._units) if any(self._values.is_missing(name) for name in unit.makes)]
        groups: list[set[int]] = []
        reads = self._reads(self._units)
        for number in missing:
            made = {name for name in self._units[number].makes if self._values.is_missing(name)}
            group = {number, *(user for user in edges.after[number] if made & set(reads[user]))}
            for other in [other for other in groups if other & group]:
                groups.remove(other)
                group |= other
            groups.append(group)
        return [sorted(group) for group in groups]

    def _reads(self, units: Sequence[Unit]) -> list[list[str]]:
        return [[self._values.canonical(name) for name in unit.reads] for unit in units]

    def _raise_problems(self, fallback: bool) -> None:
        outside = [] if fallback else [unit for unit in self._units if unit.reason and not unit.late and not unit.control]
        left = [(unit.node, unit.reason) for unit in outside if unit.node is not None]
        named = {node.index for node, _ in left}
        problems: list[tuple[Node, str]] = left + [(node, reason) for node, reason in self._build.problems if node.index not in named]
        if not problems:
            return
        lines = "".join(f"\n  {node.label}: {reason}" for node, reason in problems)
        count = f"{len(problems)} operator{'s' if len(problems) > 1 else ''}"
        raise UnsupportedError(
            f"{count} cannot {'run' if fallback else 'be native'}:{lines}",
            at=self._graph.title,
            hint="take them out of the model, or give an offline model for their part"
            if fallback
            else "allow the fallback to ONNX Runtime",
            code="LB2301",
        )


def _live(units: Sequence[Unit], reads: Sequence[Sequence[str]], wanted: Sequence[str]) -> list[Unit]:
    """Return the units on which the outputs depend, in order."""
    producer = {name: number for number, unit in enumerate(units) for name in unit.makes}
    live: set[int] = set()
    waiting = [producer[name] for name in wanted if name in producer]
    while waiting:
        number = waiting.pop()
        if number not in live:
            live.add(number)
            waiting.extend(producer[name] for name in reads[number] if name in producer)
    return [unit for number, unit in enumerate(units) if number in live]
